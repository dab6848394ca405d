# Completion of eml in bash 4.4 or newer. Made by: eml completion bash

_eml_completion() {
    local answer mode
    COMPREPLY=()
    answer=$(_EML_COMPLETE=bash _EML_LINE="${COMP_LINE:0:COMP_POINT}" _EML_BREAKS="$COMP_WORDBREAKS" \
        "${1/#\~/$HOME}" 2>/dev/null </dev/null)
    mode=${answer%%$'\n'*}
    case $mode in
        "eml-completion words") compopt -o nospace ;;
        "eml-completion files") compopt -o filenames ;;
        *) return ;;
    esac
    [[ $answer == *$'\n'* ]] && mapfile -t COMPREPLY <<<"${answer#*$'\n'}"
}

complete -o nosort -F _eml_completion eml
