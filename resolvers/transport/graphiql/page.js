// GraphiQL with Paydesk's example operations: one tab each, in the order of a first payment and a first subscription.
// Texts such as {{payment}} in variables stand for the id of the field of that name in the latest answer that had one; they
// are filled in when a request is sent. {{key}} stands for an idempotency key, a new one for each tab when the page is
// opened first. In headers, {{guest}} and the like stand for the ready-made tokens of a development server; they are filled
// in anew each time and never stored.
(function () {
  'use strict';

  const config = JSON.parse(document.getElementById('config').textContent);
  const url = new URL(config.path, location.href);
  const socketUrl = url.href.replace(/^http/, 'ws');

  function remember(value) {
    if (Array.isArray(value)) {
      value.forEach(remember);
    } else if (value && typeof value === 'object') {
      for (const [name, inner] of Object.entries(value)) {
        if (inner && typeof inner.id === 'string') {
          localStorage.setItem('paydesk:' + name, inner.id);
        }
        remember(inner);
      }
    }
  }

  function fill(value) {
    if (typeof value === 'string') {
      const named = /^\{\{(\w+)\}\}$/.exec(value);
      return (named && localStorage.getItem('paydesk:' + named[1])) || value;
    }
    if (Array.isArray(value)) return value.map(fill);
    if (value && typeof value === 'object') {
      return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, fill(inner)]));
    }
    return value;
  }

  function fillHeaders(headers) {
    return Object.fromEntries(Object.entries(headers || {}).map(([name, value]) =>
      [name, String(value).replace(/\{\{(\w+)\}\}/g, (text, role) => config.tokens[role] || text)]));
  }

  function isSubscription(document_, name) {
    return Boolean(document_) && document_.definitions.some((definition) =>
      definition.kind === 'OperationDefinition' && definition.operation === 'subscription' &&
      (!name || (definition.name && definition.name.value === name)));
  }

  function subscribe(request, headers) {
    return {
      subscribe(sink) {
        const client = graphqlWs.createClient({ url: socketUrl, connectionParams: headers, retryAttempts: 0 });
        const stop = client.subscribe(request, {
          next(answer) { remember(answer.data); sink.next(answer); },
          error(error) {
            sink.error(error instanceof CloseEvent ? { message: error.reason || 'closed', code: error.code } : error);
          },
          complete() { sink.complete(); client.dispose(); },
        });
        return { unsubscribe() { stop(); client.dispose(); } };
      },
    };
  }

  async function fetcher(parameters, options) {
    const headers = fillHeaders(options && options.headers);
    const request = { ...parameters, variables: fill(parameters.variables) };
    if (isSubscription(options && options.documentAST, parameters.operationName)) return subscribe(request, headers);
    const response = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/graphql-response+json, application/json',
        ...headers,
      },
      body: JSON.stringify(request),
    });
    const answer = await response.json();
    remember(answer.data);
    return answer;
  }

  function headersOf(role) {
    const token = config.tokens[role] ? '{{' + role + '}}' : '<paste the token of the ' + role + ' here>';
    return JSON.stringify({ authorization: 'Bearer ' + token }, null, 2);
  }

  function variablesOf(variables) {
    const text = JSON.stringify(variables, null, 2);
    return text === '{}' ? '' : text.replaceAll('{{key}}', () => crypto.getRandomValues(new Uint32Array(2)).join('-'));
  }

  const tabs = config.examples.map((example) => ({
    query: example.query,
    variables: variablesOf(example.variables),
    headers: headersOf(example.role),
  }));
  // GraphiQL opens the tabs that it stored; where there are none, it takes its first editors from these properties.
  const isFirst = localStorage.getItem('graphiql:tabState') === null;
  const asked = new URLSearchParams(location.search).get('query');
  ReactDOM.createRoot(document.getElementById('graphiql')).render(
    React.createElement(GraphiQL, {
      fetcher,
      query: asked || undefined,
      variables: isFirst && !asked ? tabs[0].variables : undefined,
      headers: isFirst && !asked ? tabs[0].headers : undefined,
      defaultTabs: tabs,
      defaultEditorToolsVisibility: 'variables',
      shouldPersistHeaders: true,
      isHeadersEditorEnabled: true,
    }),
  );
})();
