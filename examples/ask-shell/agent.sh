#!/bin/sh
# Asks once a task, then uses the answer. Only fixed words go into its JSON, so nothing has to be escaped.
message=$(cat) asked=".asked-$A2A_TASK_ID"
if [ ! -e "$asked" ]; then
  touch "$asked"
  echo '{"type": "ask", "text": "In which language?", "options": ["en", "de"]}'
  exit
fi
rm "$asked"
case $message in
  deny*) exit ;;
  de*) greeting="Guten Tag" ;;
  *) greeting="Good day" ;;
esac
echo "{\"type\": \"text\", \"text\": \"$greeting.\"}"
