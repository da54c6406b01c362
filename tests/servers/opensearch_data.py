#!/usr/bin/env python3
"""Documents for tests, and what a server has, asked for without bakfs.

opensearch_data.py fill URL [N]           indices, aliases, templates, pipelines; N small documents
opensearch_data.py digest URL NAME...     a line for each document, what the indices are, and how many
opensearch_data.py bulk URL NAME FROM TO  documents FROM ... TO - 1 of the kind that many are
opensearch_data.py write URL NAME         changes a pair of documents until it is ended
"""
import json
import random
import sys
import urllib.error
import urllib.request


def ask(url, method, path, body=None, kind='application/json'):
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url + path, data=data, method=method, headers={'Content-Type': kind})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b'null')
    except urllib.error.HTTPError as e:
        e.msg = f'{e.msg}: {method} {path}: {e.read()[:500]}'
        raise


def bulk(url, name, pairs):
    lines = []
    for action, source in pairs:
        lines += [json.dumps(action), source if isinstance(source, str) else json.dumps(source)]
    answer = ask(url, 'POST', f'/{name}/_bulk', ('\n'.join(lines) + '\n').encode(), 'application/x-ndjson')
    assert not answer['errors'], answer


def article(i):
    r = random.Random(i)
    text = ' '.join('%x' % r.getrandbits(30) for _ in range(20))
    return {'index': {'_id': f'a{i:07d}'}}, {'n': i, 'text': text, 'price': r.random()}


def many(url, name, begin, end):
    for at in range(begin, end, 2000):
        bulk(url, name, [article(i) for i in range(at, min(at + 2000, end))])


def fill(url, n=3000):
    ask(url, 'PUT', '/_ingest/pipeline/stamp', {'processors': [{'set': {'field': 'seen', 'value': 1}}]})
    ask(url, 'PUT', '/_search/pipeline/few', {'description': 'its processors are a module of its own'})
    ask(url, 'PUT', '/_scripts/twice', {'script': {'lang': 'painless', 'source': 'params.x * 2'}})
    ask(url, 'PUT', '/_component_template/base', {'template': {'settings': {'number_of_replicas': 0}}})
    ask(url, 'PUT', '/_index_template/logs', {'index_patterns': ['log-*'], 'composed_of': ['base']})
    ask(url, 'PUT', '/_template/old', {'index_patterns': ['older-*'], 'settings': {'number_of_shards': 1}})
    ask(url, 'PUT', '/articles', {
        'settings': {'number_of_shards': 4, 'number_of_replicas': 0, 'default_pipeline': 'stamp',
                     'refresh_interval': '5s', 'analysis': {'analyzer': {'plain': {
                         'type': 'custom', 'tokenizer': 'whitespace', 'filter': ['lowercase']}}}},
        'mappings': {'properties': {'text': {'type': 'text', 'analyzer': 'plain'}, 'n': {'type': 'long'},
                                    'price': {'type': 'double'}}},
        'aliases': {'reading': {}, 'cheap': {'filter': {'range': {'price': {'lt': 0.5}}}}}})
    many(url, 'articles', 0, n)
    ask(url, 'PUT', '/routed', {'settings': {'number_of_shards': 3, 'number_of_replicas': 0},
                                'mappings': {'_routing': {'required': True}},
                                'aliases': {'reading': {'search_routing': 'r1'}}})
    bulk(url, 'routed', [({'index': {'_id': str(i), 'routing': f'r{i % 5}'}}, {'i': i}) for i in range(200)])
    ask(url, 'PUT', '/nested', {'settings': {'number_of_replicas': 0}, 'mappings': {
        'properties': {'parts': {'type': 'nested'}}}})
    bulk(url, 'nested', [({'index': {'_id': f'n{i}'}}, {'parts': [{'k': k} for k in range(i % 4)]})
                         for i in range(50)])
    ask(url, 'PUT', '/odd.names-$x_1', {'settings': {'number_of_replicas': 0}})
    odd = ['{"big":123456789012345678901234567890,"exact":1.10,"e":1E400}', '{"quote":"a\\"b\\\\","sep":"\\u2028 \\n"}',
           '{"text":"\u00e4\u00f6\u00fc \U0001F600","empty":{},"list":[[],[1,[2]]]}', '{}']
    for i, source in enumerate(odd):
        request = source.encode()
        try:
            ask(url, 'PUT', '/odd.names-$x_1/_doc/' + urllib.request.quote(f'id "{i}"/\u00e4', safe=''), request)
        except urllib.error.HTTPError as e:
            if i:
                raise AssertionError(e.read()) from e
            ask(url, 'PUT', '/odd.names-$x_1/_doc/0', b'{"exact":1.10}')
    ask(url, 'PUT', '/odd.names-$x_1/_doc/pretty', b'{\r\n "a" : 1,\n "b" : "two  blanks"\n}\n')
    ask(url, 'PUT', '/empty', {'settings': {'number_of_shards': 2, 'number_of_replicas': 0}})
    # what is gone, and what was written several times
    for i in range(0, n, 50):
        ask(url, 'DELETE', f'/articles/_doc/a{i:07d}')
    bulk(url, 'articles', [article(i) for i in range(1, n, 100)])
    ask(url, 'POST', '/_refresh')


def documents(url, name):
    answer = ask(url, 'POST', f'/{name}/_search?scroll=1m', {'size': 1000, 'sort': ['_doc']})
    scroll = answer['_scroll_id']
    while answer['hits']['hits']:
        assert answer['_shards']['failed'] == 0
        yield from answer['hits']['hits']
        answer = ask(url, 'POST', '/_search/scroll', {'scroll': '1m', 'scroll_id': scroll})
    ask(url, 'DELETE', '/_search/scroll', {'scroll_id': [scroll]})


# of a copy: what it was copied from, and a default that is said
OWN = ('uuid', 'creation_date', 'version', 'provided_name', 'resize', 'history_uuid', 'routing',
       'routing_partition_size')


def digest(url, names):
    for name in names:
        ask(url, 'POST', f'/{name}/_refresh')
        lines = [json.dumps([hit['_id'], hit.get('_routing'), hit['_source']], sort_keys=True)
                 for hit in documents(url, name)]
        for line in sorted(lines):
            print(name, line)
        count = ask(url, 'GET', f'/{name}/_count')
        assert count['_shards']['failed'] == 0
        print(name, 'count', count['count'])
        (index, what), = ask(url, 'GET', f'/{name}').items()
        settings = {k: v for k, v in what['settings']['index'].items() if k not in OWN}
        what['aliases'].pop(name, None)
        print(name, json.dumps([what['aliases'], what['mappings'], settings], sort_keys=True))
    for path in ('/_ingest/pipeline', '/_search/pipeline', '/_template', '/_index_template',
                 '/_component_template', '/_scripts/twice'):
        try:
            print(path, json.dumps(ask(url, 'GET', path), sort_keys=True))
        except urllib.error.HTTPError as e:
            print(path, e.code)


def write(url, name):
    i = 0
    while True:
        bulk(url, name, [({'index': {'_id': 'pair', 'routing': 'x'}}, {'v': i}),
                         ({'index': {'_id': f'w{i}', 'routing': 'x'}}, {'v': i})])
        i += 1


def main(words):
    what, url, *rest = words
    if what == 'fill':
        fill(url, *map(int, rest))
    elif what == 'digest':
        digest(url, rest)
    elif what == 'bulk':
        many(url, rest[0], int(rest[1]), int(rest[2]))
    elif what == 'write':
        write(url, rest[0])


main(sys.argv[1:])
