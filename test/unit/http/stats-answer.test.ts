import { describe, expect, it } from 'vitest';

import { answerGatewayEvent } from '../../../src/http/app/api-gateway.ts';
import { cacheControlOf } from '../../../src/http/stats/stats-answer.ts';
import { gatherStats } from '../../../src/pipeline/stats/stats.ts';
import { gatewayEvent } from '../../support/aws/lambda.ts';

describe('Cache-Control', () => {
  const at = (time: string) => cacheControlOf('2023-06-16', Date.parse(time));

  it('of a day that is not over in all time zones makes caches revalidate', () => {
    expect(at('2023-06-16T12:00:00Z')).toBe('private, no-cache');
    expect(at('2023-06-17T11:59:59.999Z')).toBe('private, no-cache');
    expect(cacheControlOf('9999-12-31', Date.now())).toBe('private, no-cache');
  });

  it('of a day that is over everywhere lets them answer for a minute', () => {
    expect(at('2023-06-17T12:00:00Z')).toBe('private, max-age=60, must-revalidate');
  });
});

describe('an answer in memory', () => {
  const request = {
    query: { from: '2023-06-16', to: '2023-06-16', types: [], states: [] },
    format: 'json',
  } as const;

  it.each([undefined, ['type'] as const])(
    'is not gathered beyond its bound: %j',
    async (groupBy) => {
      let given = 0;
      const reader = {
        query: (_: unknown, take: (rows: readonly (typeof row)[]) => boolean) => {
          for (given = 1; given < 1_000; given++) {
            const more = { ...row, type: `${row.type}${given}` };
            if (!take([more])) return Promise.resolve(false);
          }
          return Promise.resolve(true);
        },
      };
      const row = { date: '2023-06-16', type: 'x'.repeat(100), state: 'y', count: 1 };
      const gathered = await gatherStats(reader, { ...request, groupBy }, [], 10_000);
      expect(gathered).toEqual({ kind: 'too_large' });
      expect(given).toBeLessThan(101);
      const whole = await gatherStats(reader, { ...request, groupBy }, [], 1_000_000);
      expect(whole.kind).toBe('whole');
    },
  );

  it.each([
    ['application/json', '"'.repeat(3_000_100)],
    ['application/octet-stream', 'x'.repeat(4_600_000)],
  ])(
    'that API Gateway cannot hand on is a problem that says what to do: %s',
    async (type, body) => {
      const answer = (size: number) =>
        answerGatewayEvent(
          () => new Response(body.slice(0, size), { headers: { 'content-type': type } }),
          gatewayEvent({ path: '/stats?date=2023-06-16' }, 'text'),
        );
      expect((await answer(2_900_000)).statusCode).toBe(200);
      const refused = await answer(body.length);
      expect(refused.statusCode).toBe(400);
      expect(refused.body).toContain('"code":"answer_too_large"');
      expect(refused.body).toContain('group_by');
    },
  );
});
