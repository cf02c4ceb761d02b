/**
 * AWS list prices of us-east-1 in US dollars, the first tier, without the free tier. They change:
 * check the pages named here before you rely on a figure.
 */
export const priceTable = {
  region: 'us-east-1',
  currency: 'USD',
  /** The date of these prices. */
  date: '2025-08-01',
  /** Dollars per unit. */
  units: {
    /** HTTP API; each 512 KB of a request count as one. https://aws.amazon.com/api-gateway/pricing/ */
    httpApiRequest: 1.0 / 1e6,
    /** https://aws.amazon.com/lambda/pricing/ */
    lambdaRequest: 0.2 / 1e6,
    /** arm64, the first 7.5 billion GB-seconds of a month. */
    lambdaGbSecond: 0.0000133334,
    /** PUT, COPY, POST, LIST; S3 Standard. https://aws.amazon.com/s3/pricing/ */
    s3WriteRequest: 5.0 / 1e6,
    /** GET, HEAD and all others. */
    s3ReadRequest: 0.4 / 1e6,
    /** Standard queue; each 64 KB of payload count as one. https://aws.amazon.com/sqs/pricing/ */
    sqsRequest: 0.4 / 1e6,
    /** On demand. https://aws.amazon.com/dynamodb/pricing/on-demand/ */
    dynamodbWriteUnit: 0.625 / 1e6,
    dynamodbReadUnit: 0.125 / 1e6,
    /** Storage; a month of a GB. */
    s3GbMonth: 0.023,
    dynamodbGbMonth: 0.25,
    /** Point-in-time recovery, by the size of the table. */
    dynamodbRecoveryGbMonth: 0.2,
    /** CloudWatch, standard class. https://aws.amazon.com/cloudwatch/pricing/ */
    logGb: 0.5,
    metricMonth: 0.3,
    /** A metric of an alarm. */
    alarmMetricMonth: 0.1,
    dashboardMonth: 3.0,
    /** Recorded. https://aws.amazon.com/xray/pricing/ */
    xrayTrace: 5.0 / 1e6,
    /** https://aws.amazon.com/secrets-manager/pricing/ */
    secretMonth: 0.4,
    secretRead: 0.05 / 1e4,
  },
} as const;

export type PriceName = keyof typeof priceTable.units;
