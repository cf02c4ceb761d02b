import { App, CfnOutput, RemovalPolicy, Stack, Tags } from 'aws-cdk-lib';
import { HttpIamAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers';
import { AccountRootPrincipal, Role } from 'aws-cdk-lib/aws-iam';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { DevicePipeline } from 'device-pipeline/cdk';

const app = new App();
const stack = new Stack(app, 'Fleet');

/** Devices sign their requests with AWS credentials; the on-call engineer gets the alarms. */
const events = new DevicePipeline(stack, 'Events', {
  dayZone: 'UTC',
  keepReceiptsDays: 60,
  throttleRate: 200,
  authorizer: new HttpIamAuthorizer(),
  alarmTopic: new Topic(stack, 'OnCall'),
});
const assumedBy = new AccountRootPrincipal();
events.grantIngest(new Role(stack, 'Gateway', { assumedBy }));
events.grantReadCounters(new Role(stack, 'Analyst', { assumedBy }));

/** For trials: with bearer tokens, and deleted with the stack. */
const trial = new DevicePipeline(stack, 'Trial', { removalPolicy: RemovalPolicy.DESTROY });

new CfnOutput(stack, 'EventsUrl', { value: events.url });
new CfnOutput(stack, 'TrialUrl', { value: trial.url });
Tags.of(stack).add('team', 'fleet');
