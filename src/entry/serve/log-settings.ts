export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];
export const logFormats = ['auto', 'json', 'text'] as const;
export type LogFormat = (typeof logFormats)[number];

export interface LogSettings {
  readonly level: LogLevel;
  /** `auto`: text on a terminal, else JSON. */
  readonly format: LogFormat;
}
