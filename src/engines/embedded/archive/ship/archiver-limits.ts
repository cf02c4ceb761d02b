/** How much an archiver ships at a time. */
export interface ArchiverLimits {
  /** Bytes of the log in a piece, unless a single record is larger. */
  readonly pieceBytesMax: number;
  /** Uploads of pieces under way. */
  readonly uploadsMax: number;
  /** Pieces of an open segment are merged at this number, so that a restore reads few objects. */
  readonly unmergedPiecesMax: number;
  /**
   * Numbers that a claim leaves out: uploads of an earlier server that are still under way may take
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
