/**
 * Settings of an SDK client that calls the emulators through the wire. The wire names the caller by
 * the access key id, which must consist of letters and digits; the signature is not checked.
 */
export function clientSettings(endpoint: string, region: string, caller: string) {
  return { endpoint, region, credentials: { accessKeyId: caller, secretAccessKey: 'local' } };
}

/** The same as environment variables, which the SDK in a function reads. */
export function clientEnvironment(
  endpoint: string,
  region: string,
  caller: string,
): Record<string, string> {
  return {
    AWS_ENDPOINT_URL_DYNAMODB: endpoint,
    AWS_ENDPOINT_URL_S3: endpoint,
    AWS_ENDPOINT_URL_SQS: endpoint,
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
    AWS_ACCESS_KEY_ID: caller,
    AWS_SECRET_ACCESS_KEY: 'local',
  };
}
