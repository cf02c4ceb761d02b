import type { Axis } from '../plot/plot.ts';

export type Figures = Readonly<Record<string, number>>;

/** A column of the table, by the name of its figure. */
export interface Column {
  readonly figure: string;
  readonly label: string;
  readonly digits?: number;
}

export interface Chart {
  /** Of the file: `growth-<name>.svg`. */
  readonly name: string;
  readonly title: string;
  readonly y: Axis;
  /** The names of the figures that are drawn, and what the legend calls them. */
  readonly lines: Readonly<Record<string, string>>;
}

/** A cost whose growth is judged. `costOf` turns what is measured into one that grows. */
export interface Judged {
  readonly label: string;
  readonly costOf: (figures: Figures) => number;
}

/** Something that is varied, and what is measured at each point. */
export interface Experiment {
  readonly name: string;
  /** What is varied. */
  readonly x: Axis;
  readonly points: readonly number[];
  /** What one of x is in the smallest things that are there: rows or bytes. */
  readonly unit: number;
  readonly columns: readonly Column[];
  readonly charts: readonly Chart[];
  readonly judged: readonly Judged[];
  /** @throws where the counters do not hold what was acknowledged. */
  readonly measure: (x: number) => Promise<Figures>;
  /** Removes what the points share. */
  readonly finish?: () => void;
}

export interface Settings {
  /** How long a point of throughput is under load. */
  readonly seconds: number;
  readonly connections: number;
  readonly logGbMax: number;
  readonly backlogMibMax: number;
  readonly countersMax: number;
}
