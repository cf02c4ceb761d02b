import type { ComponentChildren } from 'preact';

import { momentText } from '../data/calendar/date-text.ts';
import { dayRuleText } from '../data/calendar/days.ts';
import { agoText, compactText, durationText, wholeText } from '../data/format.ts';
import type { ArchiveHealth, Health } from '../data/health.ts';
import type { State } from '../state/store.ts';
import { useClosing } from './closing.ts';

type Ready = Extract<Health, { kind: 'ready' }>;

/** The state of the pipeline in one line that opens its details. */
export function HealthLine({ state }: { state: State }) {
  const { health, now } = state;
  const closing = useClosing();
  if (health === undefined) return <div class="health" />;
  if (health.kind !== 'ready') {
    return (
      <div class="health bad" role="status">
        <span class="dot" aria-hidden="true" />
        {health.kind === 'unreachable' ? (
          <span>The server does not respond. Check that it is running.</span>
        ) : (
          <span>Not ready: {health.detail}</span>
        )}
      </div>
    );
  }
  const { deadLetters = 0, archive } = health;
  const isWarning = deadLetters > 0 || archive?.problem !== undefined;
  return (
    <details class={isWarning ? 'health warn' : 'health'} {...closing}>
      <summary title="The health of the pipeline">
        <span class="dot" aria-hidden="true" />
        {partsOf(health, now).map((part) => (
          <span>{part}</span>
        ))}
      </summary>
      <HealthPanel state={state} health={health} />
    </details>
  );
}

/** The texts of the line. */
function partsOf(health: Ready, now: number): string[] {
  const { pending, deadLetters = 0, lastReceivedAt, archive } = health;
  return [
    lastReceivedAt === undefined ? 'Ready' : `Last batch ${agoText(lastReceivedAt, now)}`,
    ...(pending === undefined ? [] : [pendingText(pending)]),
    ...(archive === undefined ? [] : [archiveText(archive)]),
    ...(deadLetters === 0
      ? []
      : [`${wholeText(deadLetters)} dead ${deadLetters === 1 ? 'letter' : 'letters'}`]),
  ];
}

function pendingText({ amount, unit }: NonNullable<Ready['pending']>): string {
  return amount === 0 ? 'Everything is counted' : `${wholeText(amount)} ${unit} to be counted`;
}

/** A lag of some seconds is normal: batches wait to be shipped together. */
function archiveText({ lagSeconds, problem }: ArchiveHealth): string {
  const behind = `${durationText(lagSeconds)} behind`;
  if (problem !== undefined) return `The archive cannot be reached, ${behind}`;
  return lagSeconds < 60 ? 'Archived' : `Archive ${behind}`;
}

function HealthPanel({ state, health }: { state: State; health: Ready }) {
  const { dayZone } = state;
  const { pending, deadLetters, reasons, countedThrough, lastReceivedAt, archive, version } =
    health;
  const moment = (time: number | undefined) => (time === undefined ? 'unknown' : momentText(time));
  return (
    <dl class="panel">
      <Entry name="Last batch">{moment(lastReceivedAt)}</Entry>
      {pending !== undefined && <Entry name="Waiting">{pendingText(pending)}</Entry>}
      <Entry name="Counted through">{moment(countedThrough)}</Entry>
      {deadLetters !== undefined && (
        <Entry name="Dead letters">
          {wholeText(deadLetters)}
          {reasons.length > 0 && (
            <ul>
              {reasons.map(({ reason, count }) => (
                <li>
                  {wholeText(count)} × {reason}
                </li>
              ))}
            </ul>
          )}
          {deadLetters > 0 && (
            <p>
              <code>device-pipeline dlq list</code> lists them.
            </p>
          )}
        </Entry>
      )}
      {archive !== undefined && (
        <Entry name="Archive">
          {durationText(archive.lagSeconds)} and {compactText(archive.lagBytes)} bytes behind the
          log
          {archive.problem !== undefined && <p>Cannot be reached: {archive.problem}</p>}
        </Entry>
      )}
      {dayZone !== undefined && <Entry name="Day rule">{dayRuleText(dayZone)}</Entry>}
      {version !== undefined && <Entry name="Version">{version}</Entry>}
    </dl>
  );
}

function Entry({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
