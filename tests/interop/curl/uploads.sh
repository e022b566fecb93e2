#!/usr/bin/env bash
# curl with every form of upload, valid and refused
source "$(dirname "$0")/../lib.sh"
needs curl python3

ports port nowhere
host=127.0.0.1:$port
entrepot "$port" <<YAML
mirror:
  local: ["local/**"]
  upstreams:
    docker.io: {default: true, endpoints: ["http://127.0.0.1:$nowhere"]}
YAML
uploads=/v2/local/team/app/blobs/uploads/

# ask STATUS METHOD TARGET [CURL'S ARGUMENTS]: expects this status. `said` and `code` read the answer.
ask() {
    local wanted=$1 method=$2 target=$3 got
    shift 3
    : >"$WORK/tmp/body"
    echo "\$ curl -X $method $* $target" >>"$WORK/clients.log"
    got=$(curl -s -m 60 -X "$method" -D "$WORK/tmp/head" -o "$WORK/tmp/body" -w '%{http_code} %{size_upload}' \
        "$@" "http://$host$target") || fail "curl ended with status $? at $method $target"
    cat "$WORK/tmp/head" >>"$WORK/clients.log"
    [[ $(said Content-Type) != application/json ]] || cat "$WORK/tmp/body" >>"$WORK/clients.log"
    sent=${got#* }
    same "$wanted" "${got% *}" "the status of $method $target"
}
said() {
    tr -d '\r' <"$WORK/tmp/head" | sed -n "s/^$1: //Ip" | tail -n 1
}
code() {
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["errors"][0]["code"])' "$WORK/tmp/body"
}
digest() {
    echo "${2:-sha256}:$("${2:-sha256}sum" <"$1" | cut -d ' ' -f 1)"
}
# fresh NAME BYTES: writes a file of random bytes; $blob is its path, $digest its digest.
fresh() {
    blob=$WORK/tmp/$1
    head -c "$2" /dev/urandom >"$blob"
    digest=$(digest "$blob")
}
# cut_out FIRST LAST: writes these bytes of $blob to $WORK/tmp/part.
cut_out() {
    dd if="$blob" of="$WORK/tmp/part" bs=64K iflag=skip_bytes,count_bytes skip="$1" count="$(($2 - $1 + 1))" status=none
}
begin() {
    ask 202 POST "$uploads${1:-}"
    same 0-0 "$(said Range)" "the Range of a new upload"
    same 0 "$(said Content-Length)" "the Content-Length of a new upload"
    location=$(said Location)
    same "$uploads$(said Docker-Upload-UUID)" "$location" "the Location: a path that ends in the id, and no query"
}
# created [NAME]: checks the answer, and that the blob is there, byte for byte.
created() {
    local name=${1:-local/team/app}
    same "/v2/$name/blobs/$digest" "$(said Location)" "Location"
    same "$digest" "$(said Docker-Content-Digest)" "Docker-Content-Digest"
    ask 200 GET "/v2/$name/blobs/$digest"
    cmp "$WORK/tmp/body" "$blob" >>"$WORK/clients.log" || fail "what comes back is not what was sent"
    same "$digest" "$(said Docker-Content-Digest)" "Docker-Content-Digest of the blob"
}
binary=(-H 'Content-Type: application/octet-stream')

step "POST, and a PUT of everything"
fresh put 3000000
begin
ask 201 PUT "$location?digest=$digest" "${binary[@]}" --data-binary "@$blob"
created
ask 404 GET "$location"
same BLOB_UPLOAD_UNKNOWN "$(code)" "the code of an upload that has ended"

step "POST with the digest and everything"
fresh post 3000000
ask 201 POST "$uploads?digest=$digest" "${binary[@]}" --data-binary "@$blob"
created

step "POST, a PATCH of unknown length, an empty PUT"
fresh stream 3000000
begin
ask 202 PATCH "$location" "${binary[@]}" -H 'Transfer-Encoding: chunked' -T "$blob"
same 0-2999999 "$(said Range)" "Range"
location=$(said Location)
ask 201 PUT "$location?digest=$digest" -H 'Content-Length: 0'
created

# chunk STATUS FIRST-LAST [METHOD [TARGET]]: sends these bytes of $blob to the upload.
chunk() {
    cut_out "${2%-*}" "${2#*-}"
    ask "$1" "${3:-PATCH}" "${4:-$location}" "${binary[@]}" -H "Content-Range: $2" --data-binary "@$WORK/tmp/part"
}
# goes_on_after LAST: checks that the answer and the upload's status give its offset and its address.
goes_on_after() {
    same "0-$1" "$(said Range)" "Range"
    location=$(said Location)
    [[ -n $location ]] || fail "no Location"
    ask 204 GET "$location"
    same "0-$1" "$(said Range)" "the Range that GET says"
}

step "chunks with their offsets; a gap and a repetition are 416, and the upload goes on"
fresh chunks 300000
begin
chunk 202 0-99999
goes_on_after 99999
chunk 416 200000-299999
same RANGE_INVALID "$(code)" "the code of a hole"
goes_on_after 99999
chunk 416 0-99999
goes_on_after 99999
chunk 202 100000-199999
goes_on_after 199999
chunk 202 200000-299999
goes_on_after 299999
ask 201 PUT "$location?digest=$digest" -H 'Content-Length: 0'
created

step "the last chunk in the PUT, after one that leaves a gap"
fresh last 250000
begin
chunk 202 0-99999
chunk 416 200000-249999 PUT "$location?digest=$digest"
goes_on_after 99999
chunk 202 100000-199999
chunk 201 200000-249999 PUT "$location?digest=$digest"
created

step "a range that contradicts its body, and an invalid one"
begin
cut_out 0 99999
for range in 0-9 0-100000 5 9-0 none; do
    ask 400 PATCH "$location" "${binary[@]}" -H "Content-Range: $range" --data-binary "@$WORK/tmp/part"
done
ask 204 DELETE "$location"

step "a wrong digest, in every form of upload"
other=$(digest /dev/null)
ask 400 POST "$uploads?digest=$other" "${binary[@]}" --data-binary "@$blob"
same DIGEST_INVALID "$(code)" "the code of a wrong digest in a POST"
begin
ask 400 PUT "$location?digest=$other" "${binary[@]}" --data-binary "@$blob"
same DIGEST_INVALID "$(code)" "the code of a wrong digest in a PUT"
begin
ask 202 PATCH "$location" "${binary[@]}" -H 'Transfer-Encoding: chunked' -T "$blob"
ask 400 PUT "$location?digest=$other" -H 'Content-Length: 0'
same DIGEST_INVALID "$(code)" "the code of a wrong digest after a PATCH"
ask 404 GET "/v2/local/team/app/blobs/$other"

step "mount: with from, without it, and of a missing blob"
ask 201 POST "/v2/local/other/named/blobs/uploads/?mount=$digest&from=local/team/app"
created local/other/named
ask 201 POST "/v2/local/other/anonymous/blobs/uploads/?mount=$digest"
created local/other/anonymous
fresh nowhere 1000
ask 202 POST "$uploads?mount=$digest&from=local/other/named"
ask 201 PUT "$(said Location)?digest=$digest" "${binary[@]}" --data-binary "@$blob"
created

step "cancel"
begin
ask 202 PATCH "$location" "${binary[@]}" --data-binary "@$blob"
ask 204 DELETE "$location"
for method in GET PATCH DELETE; do
    ask 404 "$method" "$location"
    same BLOB_UPLOAD_UNKNOWN "$(code)" "the code of $method after it"
done

step "Expect: 100-continue of 20 MB; after a refusal, no byte of it is sent"
fresh large 20000000
begin
ask 201 PUT "$location?digest=$digest" "${binary[@]}" -H 'Expect: 100-continue' --expect100-timeout 30 -T "$blob"
grep -q '^HTTP/1.1 100' "$WORK/tmp/head" || fail "no 100 Continue"
created
for target in "/v2/library/app/blobs/uploads/?digest=$digest" "/v2/docker.io/library/app/blobs/uploads/?digest=$digest"; do
    ask 403 POST "$target" "${binary[@]}" -H 'Expect: 100-continue' --expect100-timeout 30 --data-binary "@$blob"
    same DENIED "$(code)" "the code"
    grep -q 'local/\*\*' "$WORK/tmp/body" || fail "no word of local/**"
    same 0 "$sent" "the bytes that were sent to be refused"
done

step "sha512: announced at the beginning, or only at the end"
fresh long 1000000
digest=$(digest "$blob" sha512)
for query in "?digest-algorithm=sha512" ""; do
    begin "$query"
    ask 202 PATCH "$location" "${binary[@]}" -H 'Transfer-Encoding: chunked' -T "$blob"
    ask 201 PUT "$(said Location)?digest=$digest" -H 'Content-Length: 0'
    created
    ask 202 DELETE "/v2/local/team/app/blobs/$digest"
done
ask 201 POST "$uploads?digest=$digest" "${binary[@]}" --data-binary "@$blob"
created
ask 400 POST "$uploads?digest-algorithm=md5"

step "two uploads of one digest at once"
fresh twice 4000000
locations=()
for _ in one two; do
    begin
    locations+=("$location")
done
pids=()
for location in "${locations[@]}"; do
    curl -s -m 60 -X PUT --limit-rate 4M -o /dev/null -w '%{http_code}' "${binary[@]}" --data-binary "@$blob" \
        "http://$host$location?digest=$digest" >"$WORK/tmp/status.${location##*/}" &
    pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid"; done
for location in "${locations[@]}"; do
    same 201 "$(<"$WORK/tmp/status.${location##*/}")" "the status of one of two"
done
ask 200 GET "/v2/local/team/app/blobs/$digest"
cmp "$WORK/tmp/body" "$blob" >>"$WORK/clients.log" || fail "what comes back is not what was sent"

step "an upload's Location without its query"
fresh stripped 100000
begin
ask 202 PATCH "${location%%\?*}" "${binary[@]}" --data-binary "@$blob"
ask 201 PUT "${location%%\?*}?digest=$digest" -H 'Content-Length: 0'
created

step "no unfinished upload is left"
left=$(find "$WORK/entrepot" -path '*/_uploads/*' -name data)
same "" "$left" "uploads left on disk"
