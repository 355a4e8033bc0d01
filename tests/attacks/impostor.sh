# Poses as the shim of a published port, from a container in the host's network.  sh impostor.sh MARK IP PORT
# Its own server is what the port would lead to.
mkfifo /tmp/lease /tmp/wake
exec 6<>/tmp/lease 7<>/tmp/wake
echo stolen >/www/index.html
httpd -h /www -p 127.0.0.1:9099
exec /bin/sh -c "$1
while read -r _ <&7; do :; done" envoy-docker-shim \
  -proto tcp -host-ip "$2" -host-port "$3" -container-ip 127.0.0.1 -container-port 9099
