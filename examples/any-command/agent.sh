#!/bin/sh
# The same without a configuration file in mind: the message is the last argument, the workspace is the current folder.
for message; do :; done
printf '%s\n' "$message" >>said.txt
echo "message $(wc -l <said.txt): $message"
