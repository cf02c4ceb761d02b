import { env } from 'node:process';

import {
  DeleteMessageBatchCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
} from '@aws-sdk/client-sqs';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { TransactWriteItemsCommand } from '@aws-sdk/client-dynamodb';
import { describe, expect, it } from 'vitest';

import { deadLetterAttributes } from '../../../src/engines/aws/dead-letters/dead-letter-queue.ts';
import { runSeed, traceOf } from './aws-fault-suite.ts';
import type { Client } from './aws-functions.ts';
import { runDeadLetterSchedule } from './aws-dead-letter-schedule.ts';
import { deadLetterQueueUrl, queueUrl } from '../simulated-aws/aws-simulation.ts';
import { Violation } from './aws-world.ts';
import { rounds } from '../../support/run/tier.ts';

const replayed = env['AWS_FAULTS_SEED'];
const seeds = rounds({ what: 'schedules of dead letters', quick: 30, nightly: 4_000 });

describe('dead letters that are redriven and dropped under faults', () => {
  const [from, to] = replayed === undefined ? [0, seeds] : [Number(replayed), Number(replayed) + 1];
  it(`count once or never in the schedules of the seeds ${from} to ${to - 1}`, async () => {
    for (let seed = from; seed < to; seed++)
      await runSeed(seed, runDeadLetterSchedule, 'aws-dead-letters');
  });

  const sights: Record<string, RegExp> = {
    'a dead letter sent': /redrive\d+ \S+ sent/,
    'one too old for it': /redrive\d+ \S+ too_old/,
    'a redrive killed before it sends': /redrive\d+ SendMessageBatch killedBefore/,
    'a redrive killed after it sent': /redrive\d+ SendMessageBatch killedAfter/,
    'a redrive killed before it deletes': /redrive\d+ DeleteMessageBatch killedBefore/,
    'dead letters sent in part': /redrive\d+ SendMessageBatch obstructed/,
    'one dropped': /drop\d+ \S+ dropped/,
    'one that was counted before it could be dropped': /drop\d+ \S+ counted/,
    'a drop killed after its dedup record': /drop\d+ TransactWriteItems killedAfter/,
    'a drop killed before its dedup record': /drop\d+ TransactWriteItems killedBefore/,
    'a drop during a redrive': /redrive(\d+) \w+ none[^]*drop\d+ \w+ none[^]*redrive\1 ends/,
  };

  it('have every kind of event', async () => {
    const times = new Map(Object.keys(sights).map((name) => [name, 0]));
    const rare = () => [...times].filter(([, count]) => count < 2);
    for (let seed = 0; seed < 300 && rare().length > 0; seed++) {
      const trace = (await traceOf(seed, runDeadLetterSchedule)).trace.join('\n');
      for (const [name, pattern] of Object.entries(sights)) {
        if (pattern.test(trace)) times.set(name, (times.get(name) ?? 0) + 1);
      }
    }
    expect(rare(), JSON.stringify([...times])).toEqual([]);
  });
});

/** Plausible mistakes in the commands. */
const bugs: Record<string, (inner: Client) => Client> = {
  'redrives a dead letter without the id of the first message': (inner) => ({
    send(command) {
      if (command instanceof SendMessageBatchCommand) {
        for (const { MessageAttributes } of command.input.Entries ?? []) {
          delete MessageAttributes?.[deadLetterAttributes.originalId];
        }
      }
      return inner.send(command);
    },
  }),
  'deletes a dead letter before it is sent': deletingFirst,
  'drops without checking the dedup record': (inner) => ({
    send(command) {
      if (command instanceof TransactWriteItemsCommand) {
        for (const { Put, Update } of command.input.TransactItems ?? []) {
          delete Put?.ConditionExpression;
          delete Update?.ConditionExpression;
        }
      }
      return inner.send(command);
    },
  }),
  'drops a dead letter without storing its body': (inner) => ({
    send(command) {
      if (command instanceof PutObjectCommand) return Promise.resolve({} as never);
      return inner.send(command);
    },
  }),
  'deletes a dead letter without a dedup record': (inner) => ({
    send(command) {
      if (command instanceof TransactWriteItemsCommand) return Promise.resolve({} as never);
      return inner.send(command);
    },
  }),
};

function deletingFirst(inner: Client): Client {
  const handles = new Map<string, string>();
  return {
    async send(command) {
      if (command instanceof SendMessageBatchCommand && command.input.QueueUrl === queueUrl) {
        const Entries = (command.input.Entries ?? []).map(({ Id, MessageBody = '' }) => ({
          Id,
          ReceiptHandle: handles.get(MessageBody),
        }));
        await inner.send(new DeleteMessageBatchCommand({ QueueUrl: deadLetterQueueUrl, Entries }));
      }
      const answer: { Messages?: { Body?: string; ReceiptHandle?: string }[] } =
        await inner.send(command);
      if (command instanceof ReceiveMessageCommand) {
        for (const { Body = '', ReceiptHandle = '' } of answer.Messages ?? []) {
          handles.set(Body, ReceiptHandle);
        }
      }
      return answer as never;
    },
  };
}

describe('the simulation', () => {
  it.each(Object.entries(bugs))('catches a command that %s', async (_, commandClient) => {
    for (let seed = 0; ; seed++) {
      try {
        await runDeadLetterSchedule(seed, { variant: { commandClient } });
      } catch (error) {
        expect(error).toBeInstanceOf(Violation);
        // Without the mistake the same schedule passes.
        await runDeadLetterSchedule(seed);
        return;
      }
      expect(seed, 'schedules that do not show it').toBeLessThan(2_000);
    }
  });
});
