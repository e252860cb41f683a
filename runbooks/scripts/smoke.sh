#!/bin/sh
# Holds facts to their limits. Reads one fact per line on standard input:
#
#     NAME SEEN OPERATOR LIMIT        where OPERATOR is = != < <= > or >=
#
# and prints {"passed": N, "failed": N, "misses": ["…"]}. Exit status 0 whenever every line could be read: the runbook
# judges by `failed`, so that the misses are in its record. Exit status 2 for a line that is no fact, or for no facts
# at all, since a smoke test that tests nothing must not pass.
#
# It runs with an empty environment and without network credentials: whatever it judges was measured by steps that
# are in the record.
set -eu

exec awk '
function quoted(text) {
    gsub(/\\/, "\\\\", text)
    gsub(/"/, "\\\"", text)
    gsub(/[[:cntrl:]]/, " ", text)
    return "\"" text "\""
}
function is_number(text) { return text ~ /^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$/ }
function holds(seen, operator, limit) {
    if (operator == "=")  return seen "" == limit ""
    if (operator == "!=") return seen "" != limit ""
    if (!is_number(seen) || !is_number(limit)) return 0
    if (operator == "<")  return seen + 0 <  limit + 0
    if (operator == "<=") return seen + 0 <= limit + 0
    if (operator == ">")  return seen + 0 >  limit + 0
    return seen + 0 >= limit + 0
}
NF == 0 || /^#/ { next }
NF != 4 || $3 !~ /^(=|!=|<|<=|>|>=)$/ {
    print "smoke.sh: line " NR " is no fact: " $0 | "cat 1>&2"
    bad = 1
    exit
}
holds($2, $3, $4) { passed++; next }
{ misses = misses (failed++ ? ", " : "") quoted($1 " is " $2 ", not " $3 " " $4) }
END {
    if (bad) exit 2
    if (passed + failed == 0) {
        print "smoke.sh: no facts to judge" | "cat 1>&2"
        exit 2
    }
    printf "{\"passed\": %d, \"failed\": %d, \"misses\": [%s]}\n", passed, failed, misses
}
'
