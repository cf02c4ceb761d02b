import type { Template } from '../../infra/local/template/template.ts';

/** CloudWatch Logs adds this number of bytes to each line. */
const lineOverheadBytes = 26;

/** The bytes that CloudWatch Logs bills for a text, which may have several lines. */
export function logBytes(text: string): number {
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.reduce((sum, line) => sum + Buffer.byteLength(line) + lineOverheadBytes, 0);
}

/** The metrics in lines of CloudWatch's embedded metric format; other lines have none. */
export function metricNames(text: string): string[] {
  return text.split('\n').flatMap((line) => {
    if (!line.includes('"CloudWatchMetrics"')) return [];
    const { _aws: embedded } = JSON.parse(line) as EmbeddedMetrics;
    return embedded.CloudWatchMetrics.flatMap(({ Metrics }) => Metrics.map(({ Name }) => Name));
  });
}

interface EmbeddedMetrics {
  readonly _aws: {
    readonly CloudWatchMetrics: readonly { readonly Metrics: readonly { Name: string }[] }[];
  };
}

/** Values of usual length. */
const usual: Readonly<Record<string, string>> = {
  requestTime: '18/Nov/2026:13:00:00 +0000',
  requestId: 'JKJaXmPLvHcESHA=',
  'identity.sourceIp': '203.0.113.100',
  httpMethod: 'POST',
  path: '/ingest',
  routeKey: 'POST /ingest',
  status: '200',
  responseLength: '121',
  responseLatency: '64',
  integrationLatency: '61',
  integrationStatus: '200',
  integrationErrorMessage: '-',
};

/** A line of the access log of a template's stage, as API Gateway would write it. */
export function accessLogLine({ Resources }: Template): string {
  const stages = Object.values(Resources).filter(({ Type }) => Type.endsWith('V2::Stage'));
  const settings = stages[0]?.Properties?.['AccessLogSettings'] as { Format?: string } | undefined;
  return (settings?.Format ?? '').replaceAll(/\$context\.([\w.]+)/g, (variable, name: string) => {
    const value = usual[name];
    if (value === undefined) throw new Error(`The length of ${variable} is not known here.`);
    return value;
  });
}
