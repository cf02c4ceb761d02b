import { below, latin1, pick, type FuzzCase, type Random } from './case.ts';
import {
  batchBody,
  chunked,
  head,
  oddHeaders,
  post,
  postChunked,
  randomBytes,
  soundRequests,
} from './requests.ts';

/*
 * Requests whose framing is wrong, or could be read in two ways. Each carries another whole
 * request, with the state `smuggled`, where one of those readings would find it. No item of that
 * state may ever be counted: RFC 9112 allows none of these readings.
 */

/** All that is known of such a case, before it is cut into pieces. */
export type Framing = Pick<FuzzCase, 'shape' | 'requests'> & {
  readonly bytes: Buffer;
  /** Whether the server must close on its own, without waiting for the client to do so. */
  readonly mustClose: boolean;
};

const smuggled = () => post(batchBody('smuggled', 1));

export function framingCase(random: Random): Framing {
  const [shape, make] = pick(random, shapes);
  const { text, mustClose } = make(random);
  return { shape, bytes: text, requests: 2, mustClose };
}

type Shape = (random: Random) => { readonly text: Buffer; readonly mustClose: boolean };

/** Header lines that give no valid length of the body. */
const badFraming: readonly (readonly string[])[] = [
  ['Content-Length: 0', 'Transfer-Encoding: chunked'],
  ['Transfer-Encoding: chunked', 'Content-Length: 0'],
  ['Content-Length: 0', 'Content-Length: 5'],
  ['Content-Length: 5', 'Content-Length: 0'],
  ['Content-Length: 0, 5'],
  ['Content-Length: +0'],
  ['Content-Length: -1'],
  ['Content-Length: 0x0'],
  ['Content-Length: 0;'],
  ['Content-Length: 0 0'],
  ['Content-Length: 1e0'],
  ['Content-Length: 0.0'],
  ['Content-Length: \u00b2'],
  ['Content-Length: 99999999999999999999999'],
  ['Content-Length: 18446744073709551616'],
  ['Content-Length: '],
  ['Content-Length: 0\u000b'],
  ['Content-Length : 0'],
  ['Content-Length\t: 0'],
  [' Content-Length: 0'],
  ['Content-Length: 0', ' 5'],
  ['Content-Length:', ' 0'],
  ['Transfer-Encoding : chunked'],
  ['Transfer-Encoding\u0000: chunked'],
  ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'],
  ['Transfer-Encoding: chunked, identity'],
  ['Transfer-Encoding: identity'],
  ['Transfer-Encoding: gzip'],
  ['Transfer-Encoding: xchunked'],
  ['Transfer-Encoding: chunkedx'],
  ['Transfer-Encoding: "chunked"'],
  ['Transfer-Encoding: chunked;q=1'],
  ['Transfer-Encoding: chun\u0000ked'],
  ['Transfer-Encoding: chunked\u000b'],
  ['Transfer-Encoding: ,chunked x'],
  ['Transfer-Encoding:', ' identity'],
  ['X: a\u0000b', 'Content-Length: 0'],
  ['X: a\rContent-Length: 0'],
  ['X: a\nTransfer-Encoding: chunked\rContent-Length: 0'],
  ['no colon', 'Content-Length: 0'],
  [': no name', 'Content-Length: 0'],
  ['X y: name of two words', 'Content-Length: 0'],
  ['X\u00e9: name', 'Content-Length: 0'],
  ['Host: second', 'Content-Length: 0'],
  ['Host: fuzz', 'Content-Length: 0'],
];

/** A malformed chunked body; the rest is another request. */
const badChunks: readonly string[] = [
  '0x0\r\n\r\n',
  '-0\r\n\r\n',
  '+0\r\n\r\n',
  ' 0\r\n\r\n',
  '0 \r\n\r\n',
  '\r\n0\r\n\r\n',
  'g\r\n\r\n',
  ';a=b\r\n\r\n',
  '0\n\r\n',
  '0\r\n\n',
  '0\r\r\n\r\n',
  '0\u0000\r\n\r\n',
  'fffffffffffffffff\r\n',
  '10000000000000000\r\n\r\n',
  '2\r\n{}0\r\n\r\n',
  '2\r\n{}\n0\r\n\r\n',
  '2\r\n{}\r0\r\n\r\n',
  '2\r\n{ }\r\n0\r\n\r\n',
  '2\n{}\r\n0\r\n\r\n',
  '2;\na=b\r\n{}\r\n0\r\n\r\n',
  '2;a=\u0000\r\n{}\r\n0\r\n\r\n',
  '0_2\r\n{}\r\n0\r\n\r\n',
  '0\r\nno colon\r\n\r\n',
  '0\r\nA : b\r\n\r\n',
  '0\r\nContent-Length: 5\r\n\r\n',
  '0\r\nTransfer-Encoding: chunked\r\n\r\n',
];

const shapes: readonly (readonly [string, Shape])[] = [
  [
    'a length that is none',
    (random) => {
      const before = pick(random, [[], oddHeaders(random)]);
      const lines = [...before, ...pick(random, badFraming)];
      const body = pick(random, ['', '0\r\n\r\n', '{}\r\n']);
      return { text: join(head(lines), body, smuggled()), mustClose: true };
    },
  ],
  [
    'chunks that are none',
    (random) => ({
      text: join(head(['Transfer-Encoding: chunked']), pick(random, badChunks), smuggled()),
      mustClose: true,
    }),
  ],
  [
    'chunks by HTTP/1.0',
    () => ({
      text: join(
        head(['Connection: keep-alive', 'Transfer-Encoding: chunked'], 'POST /ingest HTTP/1.0'),
        '2\r\n{}\r\n0\r\n\r\n',
        smuggled(),
      ),
      mustClose: true,
    }),
  ],
  [
    'an unknown coding, and chunks',
    (random) => ({
      text: join(
        head([`Transfer-Encoding: ${pick(random, ['gzip', 'identity', 'x'])}, chunked`]),
        '2\r\n{}\r\n0\r\n\r\n',
        smuggled(),
      ),
      mustClose: true,
    }),
  ],
  [
    'a request in a body',
    (random) => {
      const inner = smuggled();
      const line = pick(random, ['POST /ingest', 'GET /healthz', 'PUT /ingest', 'DELETE /stats']);
      const framing = pick(random, [
        () => join(head([`Content-Length: ${inner.length}`], `${line} HTTP/1.1`), inner),
        () => join(head([`Content-Length: 00${inner.length}`], `${line} HTTP/1.1`), inner),
        () => join(head(['Transfer_Encoding: chunked', `Content-Length: ${inner.length}`]), inner),
        () => join(head(['X: \u00e9', `Content-Length: ${inner.length}`]), inner),
        () =>
          join(head(['Transfer-Encoding: chunked'], `${line} HTTP/1.1`), chunked(inner, random)),
        () =>
          join(
            head(['Content-Type: text/plain', `Content-Length: ${inner.length}`]).replace(
              'application/json\r\n',
              'x/y\r\n',
            ),
            inner,
          ),
        () => join(head(['Expect: 100-continue', `Content-Length: ${inner.length}`]), inner),
      ]);
      return { text: framing(), mustClose: false };
    },
  ],
  [
    'a request in a body that is too long',
    (random) => {
      const bytes = pick(random, [4_194_305, 5_000_000, 99_999_999_999]);
      const lines = pick(random, [[], ['Expect: 100-continue'], ['X-Other: 1']]);
      return {
        text: join(head([...lines, `Content-Length: ${bytes}`]), smuggled(), smuggled()),
        // It does, and leaves the client two seconds to read why: few cases wait for that.
        mustClose: random() < 0.01,
      };
    },
  ],
  [
    'too long in chunks',
    (random) => {
      // Rare: it is long.
      if (random() > 0.02) return { text: cutChunk(random), mustClose: false };
      const chunk = Buffer.alloc(4_194_305, ' ');
      const start = latin1(`${chunk.length.toString(16)}\r\n`);
      return {
        text: join(head(['Transfer-Encoding: chunked']), start, chunk, '\r\n0\r\n\r\n', smuggled()),
        mustClose: true,
      };
    },
  ],
  [
    'request lines that are none',
    (random) => {
      const line = pick(random, [
        'POST\t/ingest\tHTTP/1.1',
        ' POST /ingest HTTP/1.1',
        'post /ingest HTTP/1.1',
        'POST /ing est HTTP/1.1',
        'POST /ingest\u0000 HTTP/1.1',
        'POST /ingest\r HTTP/1.1',
        'POST /ingest HTTP/1.1\r',
        'POST /ingest HTTP/1.11',
        'POST /ingest HTTP/11',
        'POST /ingest HTTP/1,1',
        'POST /ingest http/1.1',
        'POST /ingest HTTP/3.0',
        'POST /ingest ICY/1.1',
        'PRI * HTTP/2.0',
        'POST',
        '/ingest',
        `${'M'.repeat(100)} /ingest HTTP/1.1`,
        '\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003',
      ]);
      return { text: join(head(['Content-Length: 0'], line), smuggled()), mustClose: true };
    },
  ],
  [
    'bare line feeds',
    (random) => {
      const text = head(['Content-Length: 0']);
      const ends = text.split('\r\n').length - 1;
      const at = below(random, ends);
      let end = 0;
      const changed = text.replaceAll('\r\n', (pair) =>
        end++ === at ? pick(random, ['\n', '\r', '\r\r\n', '\n\r']) : pair,
      );
      return { text: join(changed, smuggled()), mustClose: false };
    },
  ],
  [
    'no host',
    () => ({
      text: join('POST /ingest HTTP/1.1\r\nContent-Length: 0\r\n\r\n', smuggled()),
      mustClose: true,
    }),
  ],
  [
    'a host that is none',
    (random) => {
      const host = pick(random, [
        'a b',
        'a/b',
        'a@b',
        'a,b',
        'a:x',
        '[::1',
        'a\tb',
        'a"b',
        '\u00e9',
      ]);
      const text = head(['Content-Length: 0']).replace('Host: fuzz', `Host: ${host}`);
      return { text: join(text, smuggled()), mustClose: true };
    },
  ],
  [
    'a tunnel',
    () => ({
      text: join('CONNECT fuzz:80 HTTP/1.1\r\nHost: fuzz\r\n\r\n', smuggled()),
      mustClose: true,
    }),
  ],
  [
    'headers without end',
    (random) => {
      const lines = pick(random, [
        [`X: ${'a'.repeat(17_000)}`],
        Array<string>(4000).fill('A: b'),
        [`${'N'.repeat(17_000)}: b`],
        Array<string>(20).fill(`Cookie: ${'c'.repeat(1000)}`),
      ]);
      return { text: join(head([...lines, 'Content-Length: 0']), smuggled()), mustClose: true };
    },
  ],
  [
    'random bytes',
    (random) => ({
      // Line ends alone, in front of a request, are passed over.
      text: join('\u0080', randomBytes(random, below(random, 400)), '\r\n\r\n', smuggled()),
      mustClose: false,
    }),
  ],
  [
    'cut short',
    (random) => {
      const body = batchBody('smuggled', 2);
      const cut = (whole: Buffer) => whole.subarray(0, 1 + below(random, whole.length - 1));
      const text = pick(random, [
        () => cut(post(body)),
        () => cut(post(body, ['X-Other: 1'])),
        () => cut(postChunked(Buffer.from(body), random)),
        // All of the items are there, and yet it is not whole.
        () => join(head([`Content-Length: ${body.length + 1}`]), body),
        () => join(head(['X-Other: 1', `Content-Length: ${body.length + 1}`]), body),
        () => postChunked(Buffer.from(body), random).subarray(0, -'0\r\n\r\n'.length),
      ])();
      return { text, mustClose: false };
    },
  ],
  [
    'behind sound ones',
    (random) => {
      const sound = soundRequests(random, `behind-${below(random, 2 ** 40)}`)
        .filter(({ isRepeat }) => isRepeat !== true)
        .map(({ bytes }) => bytes);
      const bad = join(head(pick(random, badFraming)), smuggled());
      return { text: join(...sound, bad), mustClose: true };
    },
  ],
];

/** A chunk of which the half is there, with a request in it. */
function cutChunk(random: Random): Buffer {
  const size = pick(random, ['400000', '3ffff', 'fff']);
  return join(head(['Transfer-Encoding: chunked']), `${size}\r\n`, smuggled());
}

function join(...parts: readonly (Buffer | string)[]): Buffer {
  return Buffer.concat(parts.map((part) => (typeof part === 'string' ? latin1(part) : part)));
}
