# Makes certificates of many kinds, each in a folder of its own: server.crt and server.key for the server, root.crt for
# the client. The first ones are made as the PostgreSQL manual says ("Creating Certificates").
set -eu
new() { mkdir "$1"; cd "$1"; } # new KIND
back() { rm -f ./*.csr ./*.srl; cd ..; }
request() { # request NAME SUBJECT [OPTION...]
    name=$1 subject=$2
    shift 2
    [ $# != 0 ] || set -- -newkey ec -pkeyopt ec_paramgen_curve:prime256v1
    openssl req -new -nodes -text -out "$name.csr" -keyout "$name.key" -subj "/CN=$subject" "$@"
}
sign() { # sign NAME ISSUER [EXTENSIONS [OPTION...]]
    name=$1 issuer=$2 extensions=${3:-}
    shift 2
    [ $# = 0 ] || shift
    printf '%s\n' "$extensions" >"$name.ext"
    if [ "$issuer" = "$name" ]; then
        set -- -signkey "$name.key" "$@"
    else
        set -- -CA "$issuer.crt" -CAkey "$issuer.key" -CAcreateserial "$@"
    fi
    [ -z "$extensions" ] || set -- -extfile "$name.ext" "$@"
    openssl x509 -req -in "$name.csr" -text -days 365 -out "$name.crt" "$@"
}
ca='basicConstraints=critical,CA:TRUE'
root() { request root 'the root'; sign root root "$ca"; } # an authority as the manual makes it
server() { request server "${2:-localhost}"; sign server root "$1"; } # server EXTENSIONS [COMMON NAME]
between() { request between 'an authority between'; sign between root "$1"; } # between EXTENSIONS
below() { request server localhost; sign server between "$1"; cat between.crt >>server.crt; } # below EXTENSIONS
self() { openssl req -new -x509 -days 365 -nodes -text -out server.crt -keyout server.key -subj /CN=localhost "$@"; cp server.crt root.crt; }
once() { # once NAME ISSUER EXTENSIONS: valid for one month in 2020
    printf '[ca]\ndefault_ca=d\n[d]\ndatabase=index\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\npolicy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n[e]\n%s\n' "$3" >ca.conf
    : >index
    set -- "$1" "$2" "$([ "$1" = "$2" ] && echo -selfsign || echo "-cert $2.crt")"
    openssl ca -batch -notext -startdate 20200101000000Z -enddate 20200201000000Z -config ca.conf -in "$1.csr" $3 -keyfile "$2.key" -out "$1.crt"
}
dns='subjectAltName=DNS:localhost'

new 'manual, self-signed'; self; back
new 'manual, own authority'; request root r -newkey rsa:2048; sign root root "$ca"; request server localhost -newkey rsa:2048; sign server root; back
new 'manual, authority between'; root; between "$ca"; below ''; back
new 'self-signed with names'; self -addext "$dns"; back
new 'version 3'; root; server "$dns"; back
new 'root of version 1'; request root r; sign root root; server ''; back
new 'authority of version 1 between'; root; between ''; below ''; back
new 'no authority between'; root; between 'basicConstraints=CA:FALSE'; below "$dns"; back
new 'not for signing'; root; between "$ca
keyUsage=digitalSignature"; below "$dns"; back
new 'only the authority between is trusted'; root; between "$ca"; below "$dns"; cp between.crt root.crt; back
new 'no chain is sent'; root; between "$ca"; below "$dns"; openssl x509 -in server.crt -out x; mv x server.crt; back
new 'another authority of this name'; root; server "$dns"; root; back
new 'unknown self-signed'; self; request root r; sign root root "$ca"; back
new 'an authority as a server'; root; server "$ca
$dns"; back
new 'another name'; root; server '' 127.0.0.2; back
new 'another alternative name'; root; server 'subjectAltName=DNS:elsewhere'; back
new 'an alternative address'; root; server 'subjectAltName=IP:127.0.0.1'; back
new 'only another address'; root; server 'subjectAltName=IP:127.0.0.2'; back
new 'an address as common name'; root; server '' 127.0.0.1; back
new 'an address as DNS name'; root; server 'subjectAltName=DNS:127.0.0.1'; back
new 'both names'; root; server "$dns,IP:127.0.0.1" elsewhere; back
new 'for clients'; root; server "$dns
extendedKeyUsage=clientAuth"; back
new 'for servers'; root; server "$dns
extendedKeyUsage=serverAuth
keyUsage=digitalSignature"; back
new 'for any purpose'; root; server "$dns
extendedKeyUsage=anyExtendedKeyUsage"; back
new 'a key for signing certificates'; root; server "$dns
keyUsage=keyCertSign"; back
new 'authority for mail'; root; between "$ca
extendedKeyUsage=emailProtection"; below "$dns"; back
new 'unknown extension'; root; server "$dns
1.2.3.4=critical,ASN1:UTF8String:x"; back
new 'unknown extension, not critical'; root; server "$dns
1.2.3.4=ASN1:UTF8String:x"; back
new 'a certificate policy'; root; server "$dns
certificatePolicies=critical,1.2.3.4"; back
new 'for Netscape clients'; root; server "$dns
nsCertType=client"; back
new 'no authorities below'; request root r; sign root root 'basicConstraints=critical,CA:TRUE,pathlen:0'; between "$ca"; below "$dns"; back
new 'one authority below'; request root r; sign root root 'basicConstraints=critical,CA:TRUE,pathlen:1'; between "$ca"; below "$dns"; back
new 'within name constraints'; root; between "$ca
nameConstraints=critical,permitted;DNS:localhost,permitted;IP:127.0.0.0/255.0.0.0"; below "$dns,IP:127.0.0.1"; back
new 'outside of name constraints'; root; between "$ca
nameConstraints=critical,permitted;DNS:example.org"; below "$dns"; back
new 'outside of address constraints'; root; between "$ca
nameConstraints=critical,permitted;IP:10.0.0.0/255.0.0.0"; below "$dns,IP:127.0.0.1"; back
new 'excluded by name constraints'; root; between "$ca
nameConstraints=critical,excluded;DNS:localhost"; below "$dns"; back
new 'common name under constraints'; root; between "$ca
nameConstraints=critical,permitted;DNS:example.org"; request server db.example.net; sign server between ''; cat between.crt >>server.crt; back
new 'subject excluded'; root; between "$ca
nameConstraints=critical,excluded;dirName:base
[base]
CN=LOCALHOST"; below "$dns"; back
new 'expired'; root; request server localhost; once server root "$dns"; back
new 'expired root'; request root r; once root root "$ca"; server "$dns"; back
new 'P-521'; self -newkey ec -pkeyopt ec_paramgen_curve:secp521r1; back
new 'P-521 and SHA-512'; self -newkey ec -pkeyopt ec_paramgen_curve:secp521r1 -sha512 -addext "$dns"; back
new 'signed by P-521'; request root r -newkey ec -pkeyopt ec_paramgen_curve:secp521r1; sign root root "$ca"; server "$dns"; back
new 'signed by P-521 and SHA-384'; request root r -newkey ec -pkeyopt ec_paramgen_curve:secp521r1; sign root root "$ca"; request server localhost; sign server root "$dns" -sha384; back
new 'another P-521 of this name'; for again in 1 2; do request root r -newkey ec -pkeyopt ec_paramgen_curve:secp521r1; sign root root "$ca"; [ $again = 2 ] || server ''; done; back
new 'P-384 and SHA-512'; request root r -newkey ec -pkeyopt ec_paramgen_curve:secp384r1; sign root root "$ca"; request server localhost; sign server root "$dns" -sha512; back
new 'P-256 and SHA-512'; request root r -newkey ec -pkeyopt ec_paramgen_curve:prime256v1; sign root root "$ca"; request server localhost -newkey ec -pkeyopt ec_paramgen_curve:prime256v1; sign server root '' -sha512; back
new 'Ed25519'; self -newkey ed25519 -addext "$dns"; back
new 'RSA-PSS signature'; request root r -newkey rsa:2048; sign root root "$ca"; request server localhost; sign server root "$dns" -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest; back
new 'a root that signs itself with SHA-1'; request root r; sign root root "$ca" -sha1; server "$dns"; back
