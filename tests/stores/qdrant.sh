#!/bin/bash
# Qdrant as a user has it: collections saved while others write, by snapshots and point by point, and
# brought back by aliases, in place, under another name, and taken back again. What comes back is
# compared by plain requests (tests/servers/qdrant_data.py).
set -euo pipefail
. "$TESTS/servers/qdrant.sh"
. "$TESTS/lib/cli.sh"

points=${POINTS:-600}
qdrant_live
setup_repository < <(
	qdrant_store live
	qdrant_store books 'collection = library'
	qdrant_store export 'mode = export' 'collection = b*'
	qdrant_store even 'collection = books' \
		'filter = {"must": [{"key": "kind", "match": {"value": "even"}}]}'
)
qdrant s-live fill books "$points" 8 1
qdrant s-live fill bare 50 4 2
qdrant s-live fill 'odd name.x' 3 4 3
qdrant s-live alias library books

# digests: of all collections, by the names that clients use
digests()
{
	qdrant s-live digest library bare 'odd name.x'
}
digests >want

# clean: nothing of ours is left on the server
clean()
{
	is "$(qdrant s-live snapshots)" ''
	qdrant_real || qdrant_honest s-live
}

# --- saved while others write
mkfifo begun
qdrant s-live write bare stop >begun &
writer=$!
read -r _ <begun || fail "no writer"
expect 0 'live: snapshot 1' bakfs backup live
touch stop
wait $writer
qdrant s-live drop bare
qdrant s-live fill bare 50 4 2
clean
bakfs restore 1 --to out1 -q
is "$(cd out1 && echo *)" 'bare.snapshot books.snapshot odd name.x.snapshot'
expect 0 '"points": '"$points" bakfs show 1
bakfs show 1 --json >out
json '.snapshots[0].manifest.data.aliases.library' books
json '.snapshots[0].manifest.data.counts["books points"]' "$points"
json '.snapshots[0].manifest.data.collections[] | select(.name == "books").config.params.vectors.size' 8
is "$(jq -r '.snapshots[0].manifest.data.collections[] | select(.name == "books").sha256' out)" \
	"$(sha256sum <out1/books.snapshot | cut -d' ' -f1)"
if qdrant_real && python3 -c 'import qdrant_edge' 2>/dev/null; then
	is "$(python3 "$TESTS/servers/qdrant_offline.py" out1/books.snapshot edge)" "$points"
fi
digests | diff want - >diff || fail "a backup changed something: $(cat diff)"
expect 0 'live: snapshot 2' bakfs backup live

# --- the parts of a snapshot change places from one to the next
expect 0 'snapshot 3' bakfs backup books
expect 0 'snapshot 4' bakfs backup books
bakfs show 4 --json >out
added=$(jq '.snapshots[0].added' out)
size=$(bakfs cat 4 books.snapshot | wc -c)
[ "$added" -lt $((size / 10 + 30000)) ] || fail "$added bytes added for the same $size"

# --- back: the alias changes over, the old one stays
qdrant s-live change books 0.5 7
expect 0 'books: restored' bakfs restore books@latest -v --yes
digests | diff want - >diff || fail "alias: $(cat diff)"
fresh=$(qdrant s-live aliases | sed 's/library //')
[[ $fresh == books-bakfs-*Z ]] || fail "it is called $fresh"
expect 0 'books: rolled back' bakfs rollback books --yes
is "$(qdrant s-live aliases)" 'library books'
! digests | diff -q want - >/dev/null || fail "not rolled back"
expect 0 'books: rolled back' bakfs rollback books --yes
digests | diff want - >diff || fail "undone: $(cat diff)"
clean
# Now it is the copy that is saved, and one beside it takes its place.
expect 0 'snapshot' bakfs backup books
qdrant s-live change library 0.5 8
expect 0 'books: restored' bakfs restore books@latest --yes
digests | diff want - >diff || fail "once more: $(cat diff)"
is "$(qdrant s-live collections | grep -c '^books')" 3
expect 3 '1 collection made by restores and led to by no alias' bakfs doctor live
qdrant s-live alias library books
qdrant s-live drop books $(qdrant s-live collections | grep books-bakfs)
qdrant s-live fill books "$points" 8 1
qdrant s-live alias library books

# --- in place: only with consent, after a snapshot of what is there
qdrant s-live change bare 0.5 9
qdrant s-live change 'odd name.x' 0.5 9
digests >changed
expect 0 'live: restored' bakfs restore 2 --yes -v
grep -q 'safety copy: snapshot' err || fail "no safety copy: $(cat err)"
digests | diff want - >diff || fail "in place: $(cat diff)"
expect 0 'live: rolled back' bakfs rollback live --yes
digests | diff changed - >diff || fail "rolled back in place: $(cat diff)"
expect 0 'live: restored' bakfs restore 2 --yes
digests | diff want - >diff || fail "in place again: $(cat diff)"
clean

# --- parts, and another name
qdrant s-live change bare 0.5 10
expect 0 'live: restored' bakfs restore 2 --yes --only bare.snapshot
digests | diff want - >diff || fail "a part: $(cat diff)"
expect 0 'live: restored' bakfs restore 2 --yes --only bare.snapshot --to-collection other
is "$(qdrant s-live digest other)" "$(qdrant s-live digest bare)"
expect 1 'there is a collection or alias other already' \
	bakfs restore 2 --yes --only bare.snapshot --to-collection other
expect 1 'is for one collection' bakfs restore 2 --yes --to-collection another
qdrant s-live drop other

# --- what was deleted comes back
qdrant s-live drop books
expect 0 'live: restored' bakfs restore 2 --yes --only books.snapshot
digests | diff want - >diff || fail "deleted: $(cat diff)"
is "$(qdrant s-live aliases)" 'library books'
clean

# --- point by point
expect 0 'export: snapshot' bakfs backup export
bakfs restore export@latest --to out2 -q
is "$(cd out2 && echo *)" 'bare.json bare.ndjson books.json books.ndjson'
is "$(wc -l <out2/books.ndjson)" "$points"
is "$(jq -s 'map(.vector | length) | unique | .[]' out2/books.ndjson)" 8
expect 0 'export: restored' bakfs restore export@latest --yes --only bare.ndjson --to-collection other
is "$(qdrant s-live digest other)" "$(qdrant s-live digest bare)"
qdrant s-live drop other
qdrant s-live change bare 0.5 11
qdrant s-live change books 0.5 11
expect 0 'export: restored' bakfs restore export@latest --yes
digests | diff want - >diff || fail "points: $(cat diff)"
expect 0 'even: snapshot' bakfs backup even
expect 1 'only those points of collection books that a filter chose' bakfs restore even@latest --yes
expect 0 'even: restored' bakfs restore even@latest --yes --to-collection half
is "$(qdrant s-live digest half | cut -d' ' -f1)" $((points / 2))
clean
expect 3 '4 collections without an alias' bakfs doctor live
