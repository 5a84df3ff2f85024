// A provider of OpenID Connect on loopback, for tests: real pages, real tokens, people that are made up.
// OIDC_PROVIDER=.../oidc-provider/lib/index.js node server.mjs PORT (0 for any) prints its issuer when it is up.
// POST /control/rotate replaces its keys; POST /control/callback?to=... tells it where a factory is.
import { createServer } from 'node:http';
import { generateKeyPairSync, randomBytes } from 'node:crypto';

const Provider = (await import(process.env.OIDC_PROVIDER)).default;
const PEOPLE = {
  amina: { name: 'Amina El Fassi', groups: ['everybody', 'lab-members'] },
  nadia: { name: 'Nadia', groups: ['regulators'] },
  omar: { name: 'Omar', groups: ['everybody'] },
  karim: { name: 'Karim', email: 'karim@lab.example', email_verified: true },
  forger: { name: 'Forger', email: 'karim@lab.example', email_verified: false },
};
const cookieKeys = [randomBytes(16).toString('hex')];
const callbacks = ['http://127.0.0.1:1/console/oidc/callback'];
let issuer = '';
let provider;

function key() {
  const kid = randomBytes(4).toString('hex');
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'RS256' };
}

function make(keys) {
  const made = new Provider(issuer, {
    clients: [{
      client_id: 'casa', client_secret: 'a secret: with % and +', redirect_uris: [...callbacks],
      grant_types: ['authorization_code'], response_types: ['code'],
    }],
    jwks: { keys },
    cookies: { keys: cookieKeys },
    claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'], groups: ['groups'] },
    scopes: ['openid', 'profile', 'email', 'groups'],
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    features: { devInteractions: { enabled: true } },
    ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 600, IdToken: 600, Interaction: 600, Session: 600 },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, ...PEOPLE[id] }),
    }),
  });
  return made.callback();
}

let keys = [key()];
const server = createServer((request, answer) => {
  const url = new URL(request.url, issuer);
  if (request.method === 'POST' && url.pathname === '/control/rotate') keys = [key()];
  if (request.method === 'POST' && url.pathname === '/control/callback') callbacks.push(url.searchParams.get('to'));
  if (url.pathname.startsWith('/control/')) {
    provider = make(keys);
    answer.end('done');
    return;
  }
  provider(request, answer);
});
server.listen(Number(process.argv[2]), '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  provider = make(keys);
  console.log(issuer);
});
process.stdin.on('end', () => process.exit(0)).resume(); // ends with whoever started it
