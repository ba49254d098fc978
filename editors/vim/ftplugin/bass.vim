" Bass: indented as a Lisp, with comments that begin with a semicolon.
setlocal lisp commentstring=;\ %s comments=:; expandtab
setlocal lispwords=def,defn,defop,fn,op,let,case,cond,when,if,from,cd,provide,use,each,for,module
