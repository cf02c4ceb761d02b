/** Limits of what an archiver ships at a time. */
export interface ArchiverLimits {
  /** Bytes of the log in a piece, unless a single record is larger. */
  readonly pieceBytesMax: number;
  /** Concurrent uploads of pieces. */
  readonly uploadsMax: number;
  /** Pieces of an open segment are merged at this number, so that a restore reads few objects. */
  readonly unmergedPiecesMax: number;
  /**
   * How many numbers a claim skips: uploads of an earlier server that are still in flight may take
   * them. Must be above `uploadsMax`.
   */
  readonly claimGap: number;
}

export const archiverLimits: ArchiverLimits = {
  pieceBytesMax: 8 * 1024 * 1024,
  uploadsMax: 4,
  unmergedPiecesMax: 1_000,
  claimGap: 1_000,
};
