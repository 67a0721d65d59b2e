// What users of the JavaScript client do. Prints a line "ok: ..." for each thing that worked; any surprise ends it.
import assert from 'node:assert';
import net from 'node:net';
import { PassThrough, Readable } from 'node:stream';
import * as k8s from '@kubernetes/client-node';

const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const namespace = 'javascript';
const labels = { app: 'web' };

// Calls `look` until it returns something; a watch would do the same with more words.
async function until(what, look) {
  const end = Date.now() + 120_000;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within two minutes: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

async function objects() {
  await core.createNamespace({ body: { metadata: { name: namespace } } });
  await until('the default account', () =>
    core.readNamespacedServiceAccount({ name: 'default', namespace }).catch(() => null));
  const made = await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'c' }, data: { a: '1' } } });
  assert.ok(made.metadata.uid && made.metadata.creationTimestamp instanceof Date);
  await assert.rejects(
    core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'c' } } }),
    (error) => error.code === 409 && JSON.parse(error.body).reason === 'AlreadyExists');
  const patched = await core.patchNamespacedConfigMap(
    { name: 'c', namespace, body: [{ op: 'replace', path: '/data/a', value: '2' }] },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.JsonPatch));
  assert.equal(patched.data.a, '2');
  const generic = k8s.KubernetesObjectApi.makeApiClient(config);
  const applied = await generic.patch(
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied', namespace }, data: { k: 'v' } },
    undefined, undefined, 'js', true, k8s.PatchStrategy.ServerSideApply);
  assert.equal(applied.data.k, 'v');
  console.log('ok: objects, conflicts, JSON patch, server-side apply');
}

async function informer() {
  const list = () => core.listNamespacedConfigMap({ namespace });
  const watcher = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, list);
  const seen = [];
  for (const event of ['add', 'update', 'delete']) watcher.on(event, (object) => seen.push(`${event} ${object.metadata.name}`));
  watcher.on('error', () => {});
  await watcher.start();
  await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'watched' } } });
  await core.deleteNamespacedConfigMap({ name: 'watched', namespace });
  await until('the informer saw all', () => seen.includes('delete watched'));
  assert.ok(seen.includes('add c') && seen.includes('add watched'), seen.join());
  await watcher.stop();
  console.log('ok: an informer saw', seen.length, 'events');
}

async function workload() {
  const template = { metadata: { labels }, spec: { containers: [{ name: 'main', image: 'img' }] } };
  await apps.createNamespacedDeployment({ namespace, body: { metadata: { name: 'web' }, spec: { replicas: 1, selector: { matchLabels: labels }, template } } });
  await until('a ready replica', async () =>
    (await apps.readNamespacedDeployment({ name: 'web', namespace })).status.readyReplicas === 1);
  const pods = await core.listNamespacedPod({ namespace, labelSelector: 'app=web' });
  console.log('ok: a deployment became ready');
  return pods.items[0].metadata.name;
}

async function streams(pod) {
  const out = new PassThrough();
  const chunks = [];
  out.on('data', (data) => chunks.push(data));
  const status = await new Promise((resolve, reject) => {
    new k8s.Exec(config)
      .exec(namespace, pod, 'main', ['sh', '-c', 'cat; exit 3'], out, null, Readable.from(['typed\n']), false, resolve)
      .catch(reject);
  });
  assert.equal(Buffer.concat(chunks).toString(), 'typed\n');
  assert.equal(status.details.causes[0].message, '3');
  const log = await core.readNamespacedPodLog({ name: pod, namespace, tailLines: 1 });
  assert.equal(log, 'main line 100\n');
  const forward = new k8s.PortForward(config, true);
  const server = net.createServer((socket) => forward.portForward(namespace, pod, [80], socket, null, socket));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const answer = await new Promise((resolve, reject) => {
    const socket = net.connect(server.address().port, '127.0.0.1', () => socket.write('GET /js HTTP/1.1\r\nHost: x\r\n\r\n'));
    let text = '';
    socket.on('data', (data) => { text += data; if (text.includes('GET /js')) { socket.destroy(); resolve(text); } });
    socket.on('error', reject);
  });
  assert.match(answer, /200 OK/);
  server.close();
  console.log('ok: exec with input and exit code 3, logs, port-forward');
}

await objects();
await informer();
await streams(await workload());
await core.deleteNamespace({ name: namespace });
console.log('ok: the namespace was deleted');
process.exit(0);
