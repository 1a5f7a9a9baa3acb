# Sourced: clean_env is an array of NAME=value for `env -i`: what a new user of a plain Debian has, and how this machine reaches
# apt's and pip's registries (proxies, certificates, pip's own settings), because those are the machine's and not the user's.
clean_env=(PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM=dumb)
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE \
            PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_TRUSTED_HOST PIP_CERT PIP_DEFAULT_TIMEOUT PIP_CONFIG_FILE; do
  [ -z "${!name:-}" ] || clean_env+=("$name=${!name}")
done
