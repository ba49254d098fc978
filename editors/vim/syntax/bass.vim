" Vim syntax file for Bass, a small Lisp in which a command is written as ($ make test).
if exists("b:current_syntax")
  finish
endif

syntax iskeyword 33-126,^(,^),^[,^],^{,^},^",^;,^,,^:,^/,^.,^^,^\\,^$

syntax match bassNumber /\v[+-]?<(0x[0-9a-fA-F_]+|0b[01_]+|\d[0-9_]*)>/
syntax keyword bassConstant null true false _ &
syntax match bassKeyword /\v:[^ \t,";\\()[\]{}^:/]+/
syntax match bassMagic /\v\*[^ \t,";\\()[\]{}^:/.*]+\*/
syntax match bassPath /\v\.{0,2}\/[^ \t,";\\()[\]{}^]*/
syntax match bassCommand /\v\.[A-Za-z][^ \t,";\\()[\]{}^:/.]*/
syntax match bassForm /\v\(@1<=(case|cond|curryfn|def|defn|defop|do|each|fn|for|from|if|import|let|module|op|or|and|provide|quote|use|when)>/
syntax match bassVariable /\v\$[^ \t,";\\()[\]{}^]+/ contained
syntax match bassWord /\v[^ \t,";\\()[\]{}^$]+/ contained
syntax match bassDollar /\v\(@1<=\$\s@=/ contained
syntax region bassCall matchgroup=bassParens start=/(/ end=/)/ contains=TOP
syntax region bassRun matchgroup=bassParens start=/(\(\$\_s\)\@=/ end=/)/ contains=bassDollar,bassVariable,bassString,bassCall,bassRun,bassComment,bassWord
syntax region bassString start=/"/ skip=/\\./ end=/"/ contains=bassEscape
syntax match bassEscape /\v\\["\\ntafrbv]/ contained
syntax match bassComment /;.*$/ contains=@Spell
syntax match bassComment /\%^#!.*$/

highlight default link bassNumber Number
highlight default link bassConstant Constant
highlight default link bassKeyword Identifier
highlight default link bassMagic Special
highlight default link bassPath String
highlight default link bassCommand Function
highlight default link bassForm Keyword
highlight default link bassVariable Identifier
highlight default link bassWord String
highlight default link bassDollar Operator
highlight default link bassParens Delimiter
highlight default link bassString String
highlight default link bassEscape SpecialChar
highlight default link bassComment Comment

let b:current_syntax = "bass"
