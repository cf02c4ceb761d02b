import { tokenHash } from '../../src/auth/token.ts';
import { ingestScope, serverAccess, TokenTable, type Access } from '../../src/auth/check-access.ts';
import { readPlainRequest } from '../../src/http/server/plain-request.ts';

const rounds = 40;
const requestsPerRound = 20_000;

/**
 * CPU time in µs for reading the head of a plain request and admitting it: the best of many rounds,
 * because other work disturbs some.
 */
export function admissionCosts(): readonly { readonly name: string; readonly us: number }[] {
  const text = `dpl_${'a'.repeat(43)}`;
  const token = { name: 'a', sha256: tokenHash(text), for: ingestScope, expiresAt: undefined };
  const [none, one] = [new TokenTable(undefined), new TokenTable([token])];
  const rate = { perSecond: 1_000_000, burst: 1_000_000 };
  const isOpenWithoutTokens = true;
  const bare = headOf('');
  const bearer = headOf(`authorization: Bearer ${text}\r\n`);
  return [
    { name: 'head alone', us: best(bare) },
    {
      name: 'no token',
      us: best(bare, serverAccess({ tokens: () => none, isOpenWithoutTokens })),
    },
    {
      name: 'a token',
      us: best(bearer, serverAccess({ tokens: () => one, isOpenWithoutTokens })),
    },
    {
      name: 'a token and a rate',
      us: best(bearer, serverAccess({ tokens: () => one, isOpenWithoutTokens, rate })),
    },
  ];
}

/** The head of a request as wrk sends it. */
function headOf(authorization: string): Buffer {
  return Buffer.from(
    'POST /ingest HTTP/1.1\r\nHost: 127.0.0.1:8080\r\ncontent-type: application/json\r\n' +
      `user-agent: wrk\r\naccept: */*\r\n${authorization}Content-Length: 2\r\n\r\n{}`,
  );
}

function best(head: Buffer, access?: Access): number {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const before = process.cpuUsage();
    for (let request = 0; request < requestsPerRound; request++) {
      const request = readPlainRequest(head);
      void access?.admit(request?.authorization, ingestScope);
    }
    const { user, system } = process.cpuUsage(before);
    least = Math.min(least, (user + system) / requestsPerRound);
  }
  return least;
}
