import { Names } from 'aws-cdk-lib';
import type { Construct } from 'constructs';

/** The name of a pipeline to which the props give none: that of its stack, its ids and a hash of them. */
export function usualName(construct: Construct): string {
  return Names.uniqueResourceName(construct, {
    maxLength: 128,
    separator: '-',
    allowedSpecialCharacters: '-',
  });
}
