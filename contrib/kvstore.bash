# Completion of `kvstore` for bash: source it, or put it into /usr/share/bash-completion/completions/
# under the name kvstore.

_kvstore() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local tool=${COMP_WORDS[1]}
  COMPREPLY=()
  case $previous in
    --unixsocket) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
    --synchronous) mapfile -t COMPREPLY < <(compgen -W 'FULL NORMAL OFF' -- "$word"); return ;;
  esac
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W 'server client check --help --version' -- "$word")
  elif [[ $tool == server && $word == --* ]]; then
    mapfile -t COMPREPLY < <(compgen -W '--port --bind --unixsocket --synchronous --group-size
      --group-timeout --busy-timeout --requirepass --maxclients --timeout --help' -- "$word")
  elif [[ $tool == client && $word == --* ]]; then
    mapfile -t COMPREPLY < <(compgen -W '--host --port --unixsocket --password --raw --help' -- "$word")
  elif [[ $tool == client ]]; then
    mapfile -t COMPREPLY < <(compgen -W 'put get del ls tree scan' -- "$word")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  fi
}
complete -F _kvstore kvstore
