// A provider of `windlass:contracts/health` in JavaScript: asks once and holds the answer to what is expected.

export const health = {
  async check(target) {
    const began = performance.now();
    const response = await ask(target.url);
    const text = await response.text();
    const roundTripMs = performance.now() - began;

    const good = target.status.length > 0 ? target.status.includes(response.status) : response.ok;
    if (!good) {
      throw failure('unexpected-status', `the answer has status ${response.status}`, response.status >= 500);
    }
    const body = parse(text);
    const missed = misses(body, target.expect);
    if (missed.length > 0) {
      throw failure('unhealthy', missed.join('; '), true, missed);
    }
    const latency = lookUp(body, 'latency_ms');
    const version = lookUp(body, 'version');
    return {
      statusCode: response.status,
      latencyMs: typeof latency === 'number' ? latency : roundTripMs,
      roundTripMs,
      version: typeof version === 'string' ? version : undefined,
      body: JSON.stringify(body),
    };
  },
};

async function ask(url) {
  try {
    return await fetch(url, { redirect: 'manual' });
  } catch (error) {
    throw failure('connect-failed', `no answer: ${error}`, true);
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw failure('not-json', 'the answer is not JSON', false);
  }
}

// What is not as expected; equality only.
function misses(body, expect) {
  return expect
    .map(([path, wanted]) => [path, JSON.stringify(JSON.parse(wanted)), JSON.stringify(lookUp(body, path))])
    .filter(([, wanted, seen]) => wanted !== seen)
    .map(([path, wanted, seen]) => `${path} is ${seen}, not ${wanted}`);
}

function lookUp(value, path) {
  return path.split('.').reduce((inner, name) => inner?.[name], value);
}

function failure(code, message, retryable, detail) {
  return {
    code,
    message,
    detail: detail === undefined ? undefined : JSON.stringify(detail),
    retryable,
    retryAfter: undefined,
  };
}
