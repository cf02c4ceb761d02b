import * as cdk from 'aws-cdk-lib';
import type { IConstruct } from 'constructs';

/** Earlier versions of the library have no `Validations`; nor does cdk-nag read them there. */
const { Validations } = cdk as Partial<Pick<typeof cdk, 'Validations'>>;

/**
 * Accepts one finding of cdk-nag on one construct. `rule` is written as in the report, including a part
 * in brackets such as in `AwsSolutions-IAM5[Resource::*]`.
 */
export function acceptFinding(construct: IConstruct, rule: string, reason: string): void {
  Validations?.of(construct).acknowledge({ id: rule, reason });
}
