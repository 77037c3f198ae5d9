# tester.tcl - the harness of the .test files, in the manner of SQLite's own tester.tcl.
#
# A test file starts with
#
#     source [file join [file dirname [info script]] tester.tcl]
#
# and ends with finish_test. In between it is in a scratch folder of its own (build/test-tmp/NAME,
# on disk, empty at the start) and has `db`, a connection to a memory database with the extension
# loaded. Needs Tcl 8.6 with SQLite's binding and nothing else. From the environment:
#
#     KVSTORE_LIB   the extension              (kvstore.so at the top of the repository)
#     KVSTORE_BUILTIN  1: SQLite has the extension, and loading it does nothing   (0)
#     KVSTORE_BIN   the program                (kvstore beside it)
#     KVSTORE_TMP   where scratch folders go   (build/test-tmp)
#     SQLITE3       SQLite's shell             (sqlite3)
#     PYTHON        Python with SQLite         (/usr/bin/python3, if there: Debian's has extensions)
#
# What there is to call:
#
#     do_test NAME SCRIPT EXPECTED           SCRIPT's result is EXPECTED
#     do_execsql_test ?-db DB? NAME SQL EXPECTED    the list of all values SQL returns
#     do_catchsql_test ?-db DB? NAME SQL EXPECTED   {0 VALUES} or {1 MESSAGE}
#     do_eqp_test ?-db DB? NAME SQL PATTERN  the plan of SQL: its lines, or a glob for all of them
#     do_shell_test NAME SCRIPT EXPECTED ?ARG...?   what the sqlite3 shell prints
#     execsql SQL ?DB?, catchsql SQL ?DB?, eqp SQL ?DB?, shell SCRIPT ?ARG...?
#     kvstore ARG...                         run the program: its exit code and all it prints
#     strace ARG...                          run strace; its own and the program's output
#     until CONDITION                        wait until it is true, a minute at most; whether it was
#     await CONDITION                        the same; that it was not is an error
#     as_root NAME                           whether this is root; if not, says that NAME is skipped
#     may_mount NAME                         the same for what needs a mount
#     signal NAME PID...                     send a signal: KILL, STOP ...; an error if a PID is not there
#     process_runs PID                       whether it has not ended
#     exec {*}[behind SCRIPT] WORD...        run a line of bash, and then the words in its place
#     exec {*}$tester::clean WORD...         run what has nothing of ours in it
#     reset_db ?FILE?                        close db, if open, and open it anew
#     open_db NAME ?FILE?                    one more connection
#     sqlite_has RELEASE                     whether the SQLite that runs is that new
#     log_lines FILE                         a log's lines, without the zeros behind its end
#     file_bytes FILE, write_bytes FILE DATA  a file as it is
#     finish_test                            say how it went, and exit
#
# SQL sees the caller's variables as $x, :x and @x. Lists are compared word by word, so EXPECTED may
# be laid out over several lines; so may the text of do_eqp_test and do_shell_test, whose common
# indentation does not count. A script that throws fails its test, and the next one runs.

package require Tcl 8.6
package require sqlite3

namespace eval tester {
  proc env_or {name default} {
    expr {[info exists ::env($name)] && $::env($name) ne "" ? $::env($name) : $default}
  }

  variable root [file dirname [file dirname [file normalize [info script]]]]
  variable file [file normalize $::argv0]
  variable name [file rootname [file tail $file]]
  variable lib [file normalize [env_or KVSTORE_LIB [file join $root kvstore.so]]]
  variable builtin [env_or KVSTORE_BUILTIN 0]
  variable bin [file normalize [env_or KVSTORE_BIN [file join $root kvstore]]]
  variable tmp [file normalize [env_or KVSTORE_TMP [file join $root build test-tmp]]]
  variable sqlite3 [env_or SQLITE3 sqlite3]
  variable python [expr {[file executable /usr/bin/python3] ? "/usr/bin/python3" : "python3"}]
  variable python [env_or PYTHON $python]
  # A sanitizer that is preloaded looks for leaks in every program; and a shell may not stand it.
  variable clean [list env -u LD_PRELOAD]
  variable scratch
  variable passed 0
  variable failed 0
  variable start [clock microseconds]

  # Two runs in one checkout must not empty each other's folder: the second one goes elsewhere, and
  # its folder does not stay.
  proc enter_scratch {} {
    variable tmp; variable name; variable scratch
    set scratch [file join $tmp $name]
    set owner $scratch.pid
    if {![catch {file_bytes $owner} pid] && $pid ne [pid] && [file exists /proc/$pid]} {
      append scratch -[pid]
      set owner $scratch.pid
    }
    # A test that was killed may have left folders that it had made read-only.
    if {[file isdirectory $scratch]} { exec chmod -R u+rwX $scratch }
    file delete -force $scratch
    file mkdir $scratch
    write_bytes $owner [pid]
    cd $scratch
  }

  proc leave_scratch {} {
    variable tmp; variable name; variable scratch
    cd $tmp
    file delete $scratch.pid
    if {[file tail $scratch] ne $name} { file delete -force $scratch }
  }

  proc report {name ok expected got} {
    variable passed; variable failed
    if {$ok} { incr passed; return }
    incr failed
    puts "$name: FAILED"
    puts "  expected: [indent $expected]"
    puts "  got:      [indent $got]"
    flush stdout
  }

  # Text fit to be read: lines below one another, bytes that do not print as \x escapes.
  proc indent {text} {
    set out ""
    foreach c [split $text ""] {
      if {$c eq "\n"} {
        append out "\n            "
      } elseif {[string is print $c] || $c eq "\t"} {
        append out $c
      } else {
        append out [format {\x%02x} [scan $c %c]]
      }
    }
    return $out
  }

  # Text laid out between braces: without the line breaks next to them, and without the indentation
  # that all lines share.
  proc dedent {text} {
    if {![string match "\n*" $text]} { return $text }
    set lines [split [string trimright [string range $text 1 end]] \n]
    set widths {}
    foreach line $lines {
      if {[regexp -indices {\S} $line at]} { lappend widths [lindex $at 0] }
    }
    set width [expr {[llength $widths] ? [tcl::mathfunc::min {*}$widths] : 0}]
    return [join [lmap line $lines { string range $line $width end }] \n]
  }

  # Take a leading "-db DB" off the arguments of a do_ command.
  proc take_db {listVar} {
    upvar 1 $listVar list
    if {[lindex $list 0] ne "-db"} { return db }
    set db [lindex $list 1]
    set list [lrange $list 2 end]
    return $db
  }
}

proc file_bytes {path} {
  set f [open $path rb]
  try { return [read $f] } finally { close $f }
}

proc write_bytes {path data} {
  set f [open $path wb]
  try { puts -nonewline $f $data } finally { close $f }
}

proc log_lines {path} {
  return [split [regsub {\n$} [string trimright [file_bytes $path] \0] {}] \n]
}

proc open_db {name {path :memory:}} {
  sqlite3 $name $path
  $name enable_load_extension 1
  set lib [file rootname $tester::lib]
  $name eval {SELECT load_extension($lib)}
}

proc reset_db {{path :memory:}} {
  catch {db close}
  open_db db $path
}

# Whether the SQLite that runs has this release's features.
proc sqlite_has {release} {
  expr {[package vcompare [db onecolumn {SELECT sqlite_version()}] $release] >= 0}
}

proc execsql {sql {db db}} {
  return [uplevel 1 [list $db eval $sql]]
}

proc catchsql {sql {db db}} {
  set code [catch {uplevel 1 [list $db eval $sql]} result]
  return [list $code $result]
}

proc eqp {sql {db db}} {
  set lines {}
  $db eval "EXPLAIN QUERY PLAN $sql" row { lappend lines $row(detail) }
  return [join $lines \n]
}

# Both streams of the sqlite3 shell, in the order they were written; the extension is loaded first.
# An exit code other than 0 is not an error here: what the shell says shows it.
proc shell {script args} {
  set load ".load [file rootname $tester::lib]"
  try {
    return [exec $tester::sqlite3 -batch -init /dev/null -cmd $load {*}$args << $script 2>@1]
  } trap CHILDSTATUS output {
    return [regsub {\n?child process exited abnormally$} $output {}]
  }
}

# Both streams of the program, in the order they were written, behind its exit code. A leading
# "-in TEXT" is its input.
proc kvstore {args} {
  set input ""
  if {[lindex $args 0] eq "-in"} { set args [lassign $args - input] }
  try {
    return [list 0 [exec $tester::bin {*}$args << $input 2>@1]]
  } trap CHILDSTATUS {output options} {
    set code [lindex [dict get $options -errorcode] 2]
    return [list $code [regsub {\n?child process exited abnormally$} $output {}]]
  }
}

# Leaks cannot be looked for in a traced process.
proc strace {args} {
  exec env ASAN_OPTIONS=detect_leaks=0 strace {*}$args 2>@1
}

# What a program printed, without what libgcov says in a counting build where another user may not write
# the counts (make coverage).
proc without_counts {text} { regsub -all -line {^profiling:.*(\n|\Z)} $text {} }

# What only root can do is a test for root alone; the runner passes the line on.
proc as_root {name} {
  if {[exec id -u] == 0} { return 1 }
  puts "skipped (needs root): $name"
  return 0
}

# The same for what mounts, which a container may not let root do.
proc may_mount {name} {
  if {[exec id -u] == 0 && ![catch {exec unshare --mount true}]} { return 1 }
  puts "skipped (needs root, and mounts): $name"
  return 0
}

# The shell's own kill: a machine may have no other.
proc signal {name args} {
  exec {*}$tester::clean sh -c {kill -s "$0" "$@"} $name {*}$args
}

# A child that has ended and was not waited for is a zombie.
proc process_runs {pid} {
  if {[catch {file_bytes /proc/$pid/stat} stat]} { return 0 }
  return [expr {[lindex [string range $stat [string last ) $stat]+2 end] 0] ne "Z"}]
}

proc until {condition} {
  for {set i 0} {$i < 6000} {incr i} {
    if {[uplevel 1 [list expr $condition]]} { return 1 }
    after 10
  }
  return 0
}

proc await {condition} {
  if {![uplevel 1 [list until $condition]]} { error "never came true: $condition" }
}

proc behind {script} {
  set preload [tester::env_or LD_PRELOAD ""]
  set preload [expr {$preload eq "" ? "" : "env LD_PRELOAD='$preload' "}]
  return [list {*}$tester::clean bash -c "$script; exec $preload\"\$0\" \"\$@\""]
}

proc do_test {name script expected} {
  set code [catch {uplevel 1 $script} got options]
  if {$code == 0 || $code == 2} { ;# 2: the script used `return`
    tester::report $name [expr {$got eq $expected}] $expected $got
  } else {
    tester::report $name 0 $expected "error: [expr {$code == 1 ? $::errorInfo : "code $code"}]"
  }
}

proc do_execsql_test {args} {
  set db [tester::take_db args]
  lassign $args name sql expected
  uplevel 1 [list do_test $name [list execsql $sql $db] [list {*}$expected]]
}

proc do_catchsql_test {args} {
  set db [tester::take_db args]
  lassign $args name sql expected
  lassign $expected code result
  if {$code == 0} { set result [list {*}$result] }
  uplevel 1 [list do_test $name [list catchsql $sql $db] [list $code $result]]
}

proc do_eqp_test {args} {
  set db [tester::take_db args]
  lassign $args name sql pattern
  set pattern [string trim [tester::dedent $pattern]]
  if {[catch {uplevel 1 [list eqp $sql $db]} got]} {
    tester::report $name 0 $pattern "error: $got"
  } else {
    tester::report $name [expr {$got eq $pattern || [string match $pattern $got]}] $pattern $got
  }
}

proc do_shell_test {name script expected args} {
  uplevel 1 [list do_test $name [list shell $script {*}$args] [tester::dedent $expected]]
}

# The last line is for machines, and says that the file came to its end.
proc finish_test {} {
  catch {db close}
  tester::leave_scratch
  set tests [expr {$tester::passed + $tester::failed}]
  set seconds [expr {([clock microseconds] - $tester::start) / 1e6}]
  puts [format "%s: %d tests, %.2f s" $tester::name $tests $seconds]
  puts "$tester::passed passed, $tester::failed failed"
  exit [expr {$tester::failed > 0}]
}

tester::enter_scratch
reset_db
