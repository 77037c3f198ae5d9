# Completion of the program kvstore for bash: its tools, their options, and files.
#
#   source completions/kvstore.bash
#
# or install it as /usr/share/bash-completion/completions/kvstore. The options come from the tools'
# own --help, so that this file does not have to know them.

_kvstore() {
  local program=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
  local tool=${COMP_WORDS[1]} words=
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    words="$("$program" --help 2>/dev/null | awk '/^  [a-z]/ { print $1 }') --help --version"
  elif [[ $tool == @(dump|load) && $before == @(--format|-f) ]]; then
    words='sql tsv json'
    [[ $tool == load ]] && words+=' tabs'
  elif [[ $tool == server && $before == --synchronous ]]; then
    words='FULL NORMAL OFF'
  elif [[ $word == -* ]]; then
    words=$("$program" "$tool" --help 2>/dev/null | grep -o -e '--[a-z][a-z-]*' | sort -u)
    words+=' --help'
  elif [[ $tool == client && $before != --* ]]; then
    # Behind a command come keys, which only the server has.
    [[ " ${COMP_WORDS[*]:2:COMP_CWORD - 2} " == *\ @(put|get|del|ls|tree|scan)\ * ]] && return
    words='put get del ls tree scan'
  fi
  if [[ $words ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
  else
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  fi
}

complete -F _kvstore kvstore
