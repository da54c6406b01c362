#!/bin/sh
# A test program under valgrind: fails on any error it finds, and on memory that is lost.
# usage: tests/valgrind.sh PROGRAM [ARGUMENT...]
if ! command -v valgrind >/dev/null; then
	echo "skipped: valgrind is missing"
	exit 77
fi
exec valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,indirect "$@"
