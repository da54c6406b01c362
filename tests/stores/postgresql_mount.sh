#!/bin/bash
# A PostgreSQL server through the mount: what its tools read there, and the ways back by /restore.
set -eu
. "$TESTS/fs/lib.sh"
. "$TESTS/servers/postgresql_here.sh"
make_shop
setup_repository <<-END
	[store shop]
	type = postgresql
	uri = host=$work/pg user=postgres dbname=shop
	[store forced]
	type = postgresql
	uri = host=$work/pg user=postgres dbname=shop
	restore = force
	[store server]
	type = postgresql
	mode = physical
	uri = host=$work/pg user=postgres
	[mount]
	restore_delay = 0
END
look() # DATABASE
{
	pg_dump "$1" | grep -v '^.\(un\)\?restrict'
}
rows()
{
	psql -Atc 'SELECT count(*) FROM sales.customers' "${1-shop}"
}
spoil()
{
	psql -qc 'DELETE FROM sales.customers WHERE id > 10' shop
	is "$(rows)" 10
}
# Once the job is over that a file or a touch started.
result() # REGEX [STORE]
{
	local store=mnt/restore/${2-shop}
	cat $store/wait >result || fail "wait: $?"
	grep -Eq "$1" result || fail "not \"$1\": $(cat result $store/status $store/log)"
}
look shop >good
expect 0 . bakfs backup
mount_it
latest=mnt/latest/shop

# PostgreSQL's own tools read it there.
is "$(ls $latest | tr '\n' ' ')" 'globals.sql shop.dump '
createdb copy
pg_restore --exit-on-error -j 2 -d copy $latest/shop.dump
look copy | diff good - || fail "pg_restore from the mount"
(cd mnt/latest && sha256sum -c --quiet shop.sha256)

# How far apart the stores are: from the database's snapshot on to the next store's stamp.
is "$(jq -r '.instants.first' mnt/by-date/*/*/manifest.json)" \
	"$(jq -r '.data.databases[0].instant[:19] + "Z"' mnt/latest/shop.json)"
is "$(jq '.instants.spread_ms | . >= 0 and . < 600000' mnt/by-date/*/*/manifest.json)" true

pg_verifybackup -q mnt/latest/server || fail "pg_verifybackup on the mounted directory"

# By a trigger, and back.
spoil
touch mnt/restore/shop/latest
result '^done'
look shop | diff good - || fail "touch latest"
touch mnt/restore/shop/rollback
result '^done'
is "$(rows)" 10

# Connections are ended only where the store says so.
psql -qc 'SELECT pg_sleep(600)' shop >/dev/null 2>&1 &
until [ "$(psql -Atc "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'" postgres)" ]; do :; done
touch mnt/restore/shop/latest
result 'has 1 connection \(psql of postgres\)'
is "$(rows)" 10
touch mnt/restore/forced/latest
result '^done' forced
look shop | diff good - || fail "restore = force"

# Straight from the program that makes it; a dump that ends early starts nothing.
pg_dump shop >mnt/restore/shop/plain
result '^done'
pg_dump -Fc shop >mnt/restore/shop/custom
result '^done'
n=$(wc -l <mnt/restore/shop/log)
! pg_dump -Fc shop | head -c 5000 >mnt/restore/shop/early 2>err || fail "a dump that ends early"
is "$(wc -l <mnt/restore/shop/log)" "$n"
look shop | diff good - || fail "pg_dump > file"
rm mnt/restore/shop/{plain,custom,early}
spoil

# By a copy of the dump, of one made elsewhere, and of SQL.
pg_dump -Fc -f other.dump copy
pg_dump -Fc -Z6 -f shop.dump copy && sed -i '0,/copy/s/copy/shop/' shop.dump
pg_dump -f shop.sql copy
for file in $latest/shop.dump shop.dump shop.sql; do
	cp $file mnt/restore/shop/upload || fail "cp $file: $(cat mnt/restore/shop/status)"
	result '^done'
	look shop | diff good - || fail "cp $file"
	rm -f mnt/restore/shop/upload
	spoil
done

# Whole or refused; of another database only if told so.
refused() # FILE REGEX
{
	! cp "$1" mnt/restore/shop/bad 2>err || fail "cp $1 was accepted"
	grep -Eq "$2" mnt/restore/shop/status || fail "$1: $(cat mnt/restore/shop/status)"
	rm -f mnt/restore/shop/bad
}
size=$(stat -c %s shop.dump)
for cut in 3000 $((size / 2)) $((size - 1)); do
	head -c "$cut" shop.dump >cut.dump
	refused cut.dump 'cut off'
done
head -n -6 shop.sql >cut.sql
refused cut.sql 'cut off'
pg_dumpall >all.sql
refused all.sql 'pg_dumpall'
cp other.dump mnt/restore/shop/
result 'dump of database copy, and the store is of shop'
rm mnt/restore/shop/other.dump
is "$(rows)" 10

# Written out of order it is read again, and as good.
dd if=shop.dump of=mnt/restore/shop/odd.part bs=4k seek=1 skip=1 conv=notrunc status=none
dd if=shop.dump of=mnt/restore/shop/odd.part bs=4k count=1 conv=notrunc status=none
mv mnt/restore/shop/odd.part mnt/restore/shop/odd
result '^done'
look shop | diff good - || fail "out of order"

# SQL with commands for psql cannot reach further than its database.
pg_dump -c -C -f create.sql shop
printf 'SELECT 1;\n\\! touch %s/escaped\n' "$work" >own.sql
for file in create.sql own.sql; do
	cp $file mnt/restore/shop/own || true
	touch mnt/restore/shop/own || true
	result 'backslash commands are restricted|without --create'
	rm -f mnt/restore/shop/own
done
[ ! -e escaped ] || fail "a command in a dump was obeyed"
look shop | diff good - || fail "after refused SQL"
is "$(psql -Atc "SELECT count(*) FROM pg_database WHERE datname LIKE 'bakfs%'" postgres)" 0
unmount_it 'restore of (shop|forced)'
