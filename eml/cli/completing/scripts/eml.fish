# Completion of eml in fish 3.4 or newer. Made by: eml completion fish

function __eml_completion
    set -l words (commandline --cut-at-cursor --current-process --tokenize) (commandline --cut-at-cursor --current-token)
    set -l program $words[1]
    set -l lines (_EML_COMPLETE=fish _EML_WORDS=(string join \n -- $words[2..] | string collect) $program 2>/dev/null </dev/null)
    test "$lines[1]" = eml-completion; and printf '%s\n' $lines[2..]
end

complete --command eml --no-files --keep-order --arguments '(__eml_completion)'
