import { ArchiveUnusable } from './object-store.ts';

/** The place of an archive in S3, or in a store with the same API. */
export interface S3Place {
  /** Its name in messages, such as `s3://bucket/prefix`. */
  readonly url: string;
  readonly bucket: string;
  /** The prefix of the keys of all objects: empty, or with a slash at its end. */
  readonly prefix: string;
}

/**
 * Returns an `ArchiveUnusable` that says what to do, if an operator has to change something; else
 * an Error with one short line, for a failure that a retry may fix.
 */
export function explainS3Error(error: unknown, place: S3Place): Error {
  const sentence = sentenceOf(error, place);
  if (sentence !== undefined) return new ArchiveUnusable(sentence, { cause: error });
  return new Error(lineOf(error), { cause: error });
}

/** The status of the store's response; undefined if there was none. */
export function statusOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('$metadata' in error)) return undefined;
  return (error.$metadata as { httpStatusCode?: number } | undefined)?.httpStatusCode;
}

export function unconditional(url: string, reason: string): string {
  return `${url} cannot be used: ${reason}, so two servers could overwrite each other's objects. Use a store that creates an object only once: Amazon S3, Cloudflare R2, MinIO and Scaleway do, for example; Backblaze B2 and Alibaba OSS do not.`;
}

function sentenceOf(error: unknown, { url, bucket }: S3Place): string | undefined {
  const code = nameOf(error);
  const said = firstLineOf(error);
  switch (code) {
    case 'NoSuchBucket':
      return `There is no bucket ${bucket} for ${url}. Create it, or check its name, AWS_REGION and AWS_ENDPOINT_URL_S3.`;
    case 'InvalidBucketName':
      return `${bucket} is not a valid bucket name (${said}). Check ${url}.`;
    case 'AccessDenied':
    case 'AllAccessDisabled':
    case 'AccountProblem':
      return `The credentials do not give access to ${url} (${code}: ${said}). Allow s3:PutObject, s3:GetObject, s3:ListBucket and s3:DeleteObject.`;
    case 'InvalidAccessKeyId':
    case 'SignatureDoesNotMatch':
    case 'InvalidToken':
    case 'ExpiredToken':
    case 'TokenRefreshRequired':
      return `${url} does not accept the credentials (${code}: ${said}). Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or AWS_PROFILE.`;
    case 'CredentialsProviderError':
    case 'TokenProviderError':
      return `No credentials for ${url} were found (${said}). Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.`;
    case 'PermanentRedirect':
    case 'AuthorizationHeaderMalformed':
    case 'IllegalLocationConstraintException':
      return `The bucket of ${url} is in another region, or has another endpoint (${code}: ${said}). Set AWS_REGION, and AWS_ENDPOINT_URL_S3 if the store is not Amazon's.`;
    case 'RequestTimeTooSkewed':
      return `${url} refuses requests, because the clock of this machine is wrong (${said}). Set the clock.`;
    case 'EndpointError':
      return `${url} has no endpoint (${said}). Check AWS_REGION and AWS_ENDPOINT_URL_S3.`;
    case 'NotImplemented':
      return unconditional(url, `the store answers If-None-Match with ${code} (${said})`);
    default:
      return sentenceOfCertificate(error, url);
  }
}

const certificateCodes = new Set([
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

function sentenceOfCertificate(error: unknown, url: string): string | undefined {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (!certificateCodes.has(code)) return undefined;
  return `The certificate of the store of ${url} is not accepted (${code}). Check AWS_ENDPOINT_URL_S3, or name the file of its authority in NODE_EXTRA_CA_CERTS.`;
}

function lineOf(error: unknown): string {
  const status = statusOf(error);
  const said = firstLineOf(error);
  if (status !== undefined) {
    // The SDK gives one of these names to an HTML page.
    const isOfStore = said !== 'UnknownError' && !nameOf(error).startsWith('Unknown');
    return `The store answered ${status}${isOfStore ? ` ${nameOf(error)}: ${said}` : ''}`;
  }
  if (nameOf(error) === 'AbortError') return 'The store did not respond in time';
  return `The store cannot be reached: ${said}`;
}

/** The service's code of the error, or the SDK's; empty if there is none. */
function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : '';
}

function firstLineOf(error: unknown): string {
  // Several addresses of a host failed: each has its error.
  const one = error instanceof AggregateError ? (error.errors as unknown[])[0] : error;
  const [line = ''] = (one instanceof Error ? one.message : String(one)).split('\n');
  return line;
}
