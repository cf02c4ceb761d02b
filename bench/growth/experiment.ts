import type { Axis } from '../plot/plot.ts';

export type Figures = Readonly<Record<string, number>>;

/** A column of the table, by the name of its figure. */
export interface Column {
  readonly figure: string;
  readonly label: string;
  readonly digits?: number;
}

export interface Chart {
  /** The name in the file name, `growth-<name>.svg`. */
  readonly name: string;
  readonly title: string;
  readonly y: Axis;
  /** The names of the plotted figures, with their labels in the legend. */
  readonly lines: Readonly<Record<string, string>>;
}

/** A cost whose growth is assessed. `costOf` computes it from the measured figure. */
export interface Judged {
  readonly label: string;
  readonly costOf: (figures: Figures) => number;
}

/** A variable, and the measurement at each of its values. */
export interface Experiment {
  readonly name: string;
  /** The variable. */
  readonly x: Axis;
  readonly points: readonly number[];
  /** The value of one unit of x in rows or bytes. */
  readonly unit: number;
  readonly columns: readonly Column[];
  readonly charts: readonly Chart[];
  readonly judged: readonly Judged[];
  /** @throws if the counters do not match the acknowledged items. */
  readonly measure: (x: number) => Promise<Figures>;
  /** Removes files that the points share. */
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
