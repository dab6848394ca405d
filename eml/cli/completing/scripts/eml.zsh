#compdef eml
# Completion of eml in zsh. Made by: eml completion zsh

_eml() {
    local answer line word text
    local -a lines header parts closed open
    answer=$(_EML_COMPLETE=zsh _EML_WORDS="${(F)${(@Q)words[2,CURRENT-1]}}"$'\n'"${(Q)PREFIX}" \
        ${~words[1]} 2>/dev/null </dev/null)
    lines=("${(@f)answer}")
    header=("${(@ps:\t:)lines[1]}")
    [[ $header[1] == eml-completion ]] || return 1
    for line in "${(@)lines[2,-1]}"; do
        parts=("${(@ps:\t:)line}")
        text="${parts[2]//:/\\:}${parts[3]:+:${parts[3]}}"
        if [[ $parts[1] == open ]]; then open+=("$text"); else closed+=("$text"); fi
    done
    (( $#closed )) && _describe -V -t values eml closed
    (( $#open )) && _describe -V -t beginnings eml open -S ''
    if [[ $header[2] != none ]]; then
        [[ -n $header[3] ]] && compset -P "${(b)header[3]}"
        case $header[2] in
            folders) _files -/ ;;
            files) if [[ -n $header[4] ]]; then _files -g "*.(${header[4]})(-.)"; else _files; fi ;;
        esac
    fi
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _eml "$@"  # from a folder of fpath
else
    compdef _eml eml  # by source or eval
fi
