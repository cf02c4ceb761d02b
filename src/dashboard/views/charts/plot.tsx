import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';

import type { Bucket } from '../../data/calendar/buckets.ts';
import { rangeText } from '../../data/calendar/date-text.ts';
import type { Range } from '../../data/calendar/days.ts';
import { bandAt, frameOf, indexAt, type Frame } from '../../data/plot.ts';
import { dayText } from './bucket-text.ts';

/** A shape of a chart. */
export interface Layer {
  readonly d: string;
  readonly fill?: string;
  readonly stroke?: string;
  readonly dash?: string;
  readonly opacity?: number;
}

export interface Label {
  readonly x: number;
  readonly y: number;
  readonly text: string;
  readonly anchor: 'start' | 'middle' | 'end';
}

/** Everything that a chart draws, on the page and in a picture. */
export interface Scene {
  readonly frame: Frame;
  readonly layers: readonly Layer[];
  readonly labels: readonly Label[];
}

interface PlotProps {
  /** What the chart shows, in a sentence. */
  readonly label: string;
  readonly buckets: readonly Bucket[];
  readonly sceneOf: (frame: Frame) => Scene;
  /** A bucket in words. */
  readonly textOf: (index: number) => string;
  readonly tip: (index: number) => ComponentChildren;
  readonly onChoose: (range: Range) => void;
}

/**
 * A chart in which the reader moves along the days: with a pointer or the arrow keys. A click or Enter
 * chooses the bucket, a drag or the arrow keys with Shift several. A tap shows the bucket, with a button to choose it.
 */
export function Plot({ label, buckets, sceneOf, textOf, tip, onChoose }: PlotProps) {
  const box = useRef<HTMLDivElement>(null);
  const frame = useFrame(box);
  const [cursor, setCursor] = useState<Cursor>();
  // New counts of the same days leave the cursor where it is.
  useEffect(() => setCursor(undefined), [buckets[0]?.from, buckets.at(-1)?.to, buckets.length]);
  const scene = sceneOf(frame);
  const last = buckets.length - 1;
  const chosenOf = ({ at, from }: Cursor): Range => ({
    from: buckets[Math.min(at, from, last)]?.from ?? '',
    to: buckets[Math.min(last, Math.max(at, from))]?.to ?? '',
  });
  const choose = (chosen: Cursor) => {
    onChoose(chosenOf(chosen));
    setCursor(undefined);
  };
  const atPointer = (event: PointerEvent) => {
    const edge = box.current?.getBoundingClientRect().left ?? 0;
    return indexAt(frame, buckets.length, event.clientX - edge);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const { at, from } = cursor ?? { at: last, from: last };
    if ((event.key === 'Enter' || event.key === ' ') && cursor !== undefined) choose(cursor);
    else if (event.key === 'Escape') setCursor(undefined);
    else {
      const next = moved(event.key, at, last);
      if (next === undefined) return;
      setCursor({ at: next, from: event.shiftKey ? from : next, isDragged: false });
    }
    event.preventDefault();
  };
  const at = Math.min(cursor?.at ?? last, last);
  return (
    <div class="plot" ref={box}>
      <SceneView scene={scene} />
      {cursor !== undefined && <Marked frame={frame} count={buckets.length} cursor={cursor} />}
      <div
        class="reach"
        role="slider"
        tabIndex={0}
        aria-label={`${label} Arrow keys move, Enter shows the day, Shift selects several.`}
        aria-valuemin={0}
        aria-valuemax={last}
        aria-valuenow={at}
        aria-valuetext={textOf(at)}
        onKeyDown={onKeyDown}
        onFocus={({ currentTarget }) => {
          if (currentTarget.matches(':focus-visible')) {
            setCursor({ at: last, from: last, isDragged: false });
          }
        }}
        onBlur={() => setCursor(undefined)}
        onPointerDown={(event) => {
          if (event.button !== 0) return;
          const index = atPointer(event);
          const isTap = event.pointerType === 'touch';
          event.currentTarget.setPointerCapture(event.pointerId);
          const isFirstTap = isTap && (cursor?.isTapped !== true || cursor.at !== index);
          setCursor({ at: index, from: index, isDragged: true, isTapped: isTap, isFirstTap });
        }}
        onPointerMove={(event) => {
          const index = atPointer(event);
          if (cursor?.isDragged === true) setCursor({ ...cursor, at: index });
          // Lifting a finger leaves no position.
          else if (event.pointerType !== 'touch') {
            setCursor({ at: index, from: index, isDragged: false });
          }
        }}
        onPointerUp={() => {
          if (cursor?.isDragged !== true) return;
          if (cursor.isFirstTap === true && cursor.at === cursor.from) {
            setCursor({ ...cursor, isDragged: false });
          } else choose(cursor);
        }}
        onPointerCancel={() => setCursor(undefined)}
        onPointerLeave={(event) => {
          if (cursor?.isDragged !== true && event.pointerType !== 'touch') setCursor(undefined);
        }}
      />
      {cursor !== undefined && (
        <Tip
          frame={frame}
          band={bandAt(frame, buckets.length, at)}
          isAbove={cursor.isDragged && cursor.isTapped === true && at !== cursor.from}
        >
          {at === cursor.from ? tip(at) : <b>{rangeText(chosenOf(cursor))}</b>}
          {cursor.isTapped === true && !cursor.isDragged && (
            <button
              type="button"
              onMouseDown={(event) => event.preventDefault()}
              onClick={() => choose(cursor)}
            >
              {`Show only ${dayText(chosenOf(cursor))}`}
            </button>
          )}
        </Tip>
      )}
    </div>
  );
}

interface Cursor {
  readonly at: number;
  /** Where a selection began; the same bucket if there is no selection. */
  readonly from: number;
  readonly isDragged: boolean;
  /**
   * Whether a finger moved the cursor there: the first tap on a bucket shows it, the second chooses
   * it.
   */
  readonly isTapped?: boolean;
  readonly isFirstTap?: boolean;
}

function moved(key: string, at: number, last: number): number | undefined {
  if (key === 'ArrowLeft' || key === 'ArrowDown') return Math.max(0, at - 1);
  if (key === 'ArrowRight' || key === 'ArrowUp') return Math.min(last, at + 1);
  if (key === 'PageDown') return Math.max(0, at - 7);
  if (key === 'PageUp') return Math.min(last, at + 7);
  return key === 'Home' ? 0 : key === 'End' ? last : undefined;
}

/** The frame with the current size of an element. */
function useFrame(box: { readonly current: HTMLElement | null }): Frame {
  const [size, setSize] = useState({ width: 640, height: 270 });
  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return undefined;
    const measure = () => {
      const { clientWidth: width, clientHeight: height } = element;
      if (width > 0)
        setSize((now) => (now.width === width && now.height === height ? now : { width, height }));
    };
    // Its first call happens before the first paint and needs no layout of its own.
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return frameOf(size.width, size.height);
}

function SceneView({ scene: { frame, layers, labels } }: { scene: Scene }) {
  return (
    <svg viewBox={`0 0 ${frame.width} ${frame.height}`} aria-hidden="true">
      {layers.map(({ d, fill = 'none', stroke, dash, opacity }) => (
        <path
          d={d}
          fill={fill}
          stroke={stroke}
          stroke-width={stroke === undefined ? undefined : 2}
          stroke-dasharray={dash}
          opacity={opacity}
        />
      ))}
      {labels.map(({ x, y, text, anchor }) => (
        <text x={x} y={y} text-anchor={anchor} fill="var(--muted)">
          {text}
        </text>
      ))}
    </svg>
  );
}

/** Marks the buckets under the cursor. */
function Marked({ frame, count, cursor }: { frame: Frame; count: number; cursor: Cursor }) {
  const [low, high] = [Math.min(cursor.at, cursor.from), Math.max(cursor.at, cursor.from)];
  const { x } = bandAt(frame, count, low);
  const end = bandAt(frame, count, high);
  return (
    <div
      class="marked"
      style={{
        left: `${x}px`,
        width: `${end.x + end.width - x}px`,
        top: `${frame.top}px`,
        height: `${frame.bottom - frame.top}px`,
      }}
    />
  );
}

interface TipProps {
  frame: Frame;
  band: { readonly x: number; readonly width: number };
  /** Whether the tip must not cover the days under a finger. */
  isAbove: boolean;
  children: ComponentChildren;
}

/** Beside the bucket, on the side with more room. */
function Tip({ frame, band, isAbove, children }: TipProps) {
  const isRight = band.x + band.width / 2 < (frame.left + frame.right) / 2;
  const style = isRight
    ? { left: `${band.x + band.width + 8}px` }
    : { right: `${frame.width - band.x + 8}px` };
  return (
    <div class={isAbove ? 'tip above' : 'tip'} style={style}>
      {children}
    </div>
  );
}
