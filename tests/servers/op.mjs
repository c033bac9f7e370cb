// A certified OpenID provider with clients for machines. `node op.mjs FOLDER PORT SECONDS`: FOLDER holds node_modules,
// tokens live SECONDS. For any resource but `urn:api` a token is a JWT, and lives ten minutes.
import { generateKeyPairSync } from 'node:crypto';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, port, seconds] = process.argv.slice(2);
const found = createRequire(`${folder}/package.json`).resolve('oidc-provider');
const { Provider } = await import(pathToFileURL(found));

const issuer = `http://127.0.0.1:${port}`;
const client = (client_id, client_secret, token_endpoint_auth_method) => ({
  client_id, client_secret, token_endpoint_auth_method,
  redirect_uris: [], response_types: [], grant_types: ['client_credentials'],
});

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = { ...privateKey.export({ format: 'jwk' }), kid: 'rsa', use: 'sig', alg: 'RS256' };

const provider = new Provider(issuer, {
  jwks: { keys: [key] },
  clients: [
    client('svc', 'svc-secret', 'client_secret_basic'),
    client('svc-post', 'svc-secret', 'client_secret_post'),
    client('odd client', 'odd+secret %&=:', 'client_secret_basic'),
  ],
  scopes: ['api.read', 'openact:run', 'openact:manage'],
  ttl: { ClientCredentials: Number(seconds) },
  cookies: { keys: ['k'] },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:api',
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => resource === 'urn:api' ? {
        scope: 'api.read', audience: 'urn:api', accessTokenTTL: Number(seconds), accessTokenFormat: 'opaque',
      } : {
        scope: 'openact:run openact:manage', audience: resource, accessTokenTTL: 600, accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'RS256' } },
      },
    },
  },
});
provider.listen(Number(port), '127.0.0.1');
