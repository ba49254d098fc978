autocmd BufRead,BufNewFile *.bass,*/bass/github-hook setfiletype bass
