/** None of these is the address of a server: no request could be sent there. */
export const badAddresses: readonly string[] = [
  ...['localhost:8080', 'ftp://a', 'http://', 'http://u:p@a', 'http://:p@a'],
  ...['http://a/?b=c', 'http://a/?', 'http://a#b', 'http://a/#'],
];
