#!/usr/bin/tclsh
# examples.tcl - runs the sqlite3 sessions and the commands that a document shows, and compares what
# they print.
#
#     examples.tcl EXTENSION FOLDER DOCUMENT ...           print the differences, exit 1 if there are any
#     examples.tcl --write EXTENSION FOLDER DOCUMENT ...   put what was printed into the documents
#
# A session is what stands in indented blocks behind `sqlite> ` (and `   ...> ` where a statement goes
# on); the lines that follow are its output. All sessions of a document are one, in a database app.db
# in an empty FOLDER, with the extension loaded. A line behind `$ ` that calls ./kvstore is a command of
# a POSIX shell, run between the statements before and behind it, which are then two sessions on
# app.db. Other indented lines are left alone.

set prompt "    sqlite> "
set command "    $ "
set more   "       ...> "

proc is_command {line} {
  return [expr {[string range $line 0 5] eq $::command && [string first ./kvstore $line] > 0}]
}

# A document as a list of {line TEXT}, {statement SQL EXPECTED-LINES} and {command SHELL
# EXPECTED-LINES}.
proc parse {text} {
  global prompt more command
  set parts {}
  set lines [split $text \n]
  for {set i 0} {$i < [llength $lines]} {incr i} {
    set line [lindex $lines $i]
    set kind statement
    if {[is_command $line]} {
      set kind command
    } elseif {[string range $line 0 11] ne $prompt} {
      lappend parts [list line $line]
      continue
    }
    set sql [list [string range $line [expr {$kind eq "command" ? 6 : 12}] end]]
    while {[string range [lindex $lines $i+1] 0 11] eq $more} {
      lappend sql [string range [lindex $lines [incr i]] 12 end]
    }
    set output {}
    while {$i + 1 < [llength $lines]} {
      set next [lindex $lines $i+1]
      if {[string range $next 0 3] ne "    " || [string range $next 0 11] eq $prompt} break
      if {[string range $next 0 5] eq $command} break
      lappend output [string range $next 4 end]
      incr i
    }
    lappend parts [list $kind $sql $output]
  }
  return $parts
}

# Run statements in one shell; a list of the lines that each printed.
proc run_statements {extension statements} {
  if {[llength $statements] == 0} { return {} }
  set script ".load $extension\n.bail off\n"
  foreach sql $statements { append script [join $sql \n] "\n.print \x01\n" }
  set shell [expr {[info exists ::env(SQLITE3)] ? $::env(SQLITE3) : "sqlite3"}]
  catch {exec $shell -batch app.db << $script 2>@1} printed
  # The shell counts the lines of a script, which nobody sees at a prompt.
  regsub -all {(Runtime error|Parse error) near line \d+: } $printed {\1: } printed
  set outputs {}
  foreach chunk [lrange [split $printed \x01] 0 [llength $statements]-1] { lappend outputs [lines_of $chunk] }
  return $outputs
}

proc lines_of {printed} {
  set printed [string trimright [regsub {^\n} $printed {}] \n]
  return [expr {$printed eq "" ? {} : [split $printed \n]}]
}

# Run all parts, in order; a list of the lines that each printed.
proc run {extension folder parts} {
  file delete -force $folder
  file mkdir $folder
  set program [file join [file dirname $extension] kvstore]
  if {[info exists ::env(KVSTORE_BIN)]} { set program $::env(KVSTORE_BIN) }
  set here [pwd]
  cd $folder
  catch {file link -symbolic kvstore $program}
  set outputs {}
  set statements {}
  foreach part $parts {
    lassign $part kind text
    if {$kind eq "statement"} { lappend statements $text }
    if {$kind ne "command"} continue
    lappend outputs {*}[run_statements $extension $statements]
    set statements {}
    catch {exec env -u LD_PRELOAD sh -c [lindex $text 0] 2>@1} printed
    lappend outputs [lines_of [regsub {\n?child process exited abnormally$} $printed {}]]
  }
  lappend outputs {*}[run_statements $extension $statements]
  cd $here
  return $outputs
}

set write [expr {[lindex $argv 0] eq "--write"}]
if {$write} { set argv [lrange $argv 1 end] }
if {[llength $argv] < 3} { puts stderr "usage: examples.tcl ?--write? EXTENSION FOLDER DOCUMENT ..."; exit 2 }
set documents [lassign $argv extension folder]
set different 0

foreach document $documents {
  set channel [open $document]
  fconfigure $channel -encoding utf-8
  set text [read -nonewline $channel]
  close $channel
  set parts [parse $text]
  set outputs [run [file normalize $extension] [file normalize $folder] $parts]
  set at -1
  set written {}
  foreach part $parts {
    if {[lindex $part 0] eq "line"} {
      lappend written [lindex $part 1]
      continue
    }
    lassign $part kind sql expected
    set got [lindex $outputs [incr at]]
    set lead [expr {$kind eq "command" ? $command : $prompt}]
    foreach line $sql {
      lappend written $lead$line
      set lead $more
    }
    foreach line $got { lappend written "    $line" }
    if {$got ne $expected} {
      incr different
      if {!$write} { puts "$document: [join $sql { }]\n  document: [join $expected \n            ]\n  printed:  [join $got \n            ]" }
    }
  }
  if {$write} {
    set channel [open $document w]
    fconfigure $channel -encoding utf-8
    puts $channel [join $written \n]
    close $channel
  }
}
exit [expr {$different > 0 && !$write}]
