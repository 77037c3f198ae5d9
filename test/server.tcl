# server.tcl - what tests of the server and the client share; source it behind tester.tcl.
#
#     start_server FILE ?ARG...?    start `kvstore server FILE`; returns its number, by default on a
#                                   free port of 127.0.0.1. `server_port`, `server_pid`, `server_log`
#                                   tell of it
#     stop_server ?N? ?SIGNAL?      end it by its process id (TERM) and wait; its exit code
#     cli ?WORD...?                 what redis-cli prints for a command
#     client ?WORD...?              {exit code, output} of `kvstore client`
#     connect ?N?                   a raw connection; `ask CHANNEL WORD...` sends a request and gives
#                                   its reply as `reply CHANNEL` does: a list for an array, a map or
#                                   a set, {nil} for nil, and errors as they are, with their -
#     raw_reply CHANNEL             its bytes as they came
#
# A server that a test leaves running is ended when the test file ends.

namespace eval server {
  variable count 0
  variable pids {}
  variable ports {}
  variable codes {}
  variable wrap {} ;# words in front of the server's command line
  variable sanitized [expr {[info exists ::env(LD_PRELOAD)] && $::env(LD_PRELOAD) ne ""}]
}

# A port nobody listens on; it stays free long enough.
proc free_port {} {
  set s [socket -server {apply {args {}}} -myaddr 127.0.0.1 0]
  set port [lindex [fconfigure $s -sockname] 2]
  close $s
  return $port
}

proc start_server {file args} {
  set port [free_port]
  for {set i 0} {$i < [llength $args]} {incr i} {
    if {[lindex $args $i] eq "--port"} { set port [lindex $args $i+1] }
  }
  set n $server::count
  incr server::count
  set pid [exec {*}$tester::clean {*}$server::wrap $tester::bin server $file --port $port {*}$args \
      2> server-$n.log > server-$n.out &]
  dict set server::pids $n $pid
  dict set server::ports $n $port
  for {set i 0} {$i < 3000} {incr i} {
    if {[string match "*ready:*" [file_bytes server-$n.log]]} { return $n }
    if {![process_runs $pid]} break
    after 10
  }
  error "the server did not start: [file_bytes server-$n.log]"
}

proc server_last {} { expr {$server::count - 1} }
proc server_port {{n ""}} { dict get $server::ports [expr {$n eq "" ? [server_last] : $n}] }
proc server_pid {{n ""}} { dict get $server::pids [expr {$n eq "" ? [server_last] : $n}] }
proc server_log {{n ""}} { file_bytes server-[expr {$n eq "" ? [server_last] : $n}].log }

proc stop_server {{n ""} {signal TERM}} {
  if {$n eq ""} { set n [server_last] }
  set pid [server_pid $n]
  dict unset server::pids $n
  catch {signal $signal $pid}
  for {set i 0} {$i < 3000 && [process_runs $pid]} {incr i} { after 10 }
  if {[process_runs $pid]} {
    signal KILL $pid
    error "the server did not end after SIG$signal"
  }
  return [expr {[string match "*] ended\n" [server_log $n]] ? "ended" : "gone"}]
}

rename finish_test server_finish_test
proc finish_test {} {
  foreach pid [dict values $server::pids] { catch {signal KILL $pid} }
  server_finish_test
}

proc cli {args} {
  if {[catch {exec {*}$tester::clean redis-cli -h 127.0.0.1 -p [server_port] {*}$args 2>@1} out]} {
    return "failed: $out"
  }
  return $out
}

proc client {args} {
  set code 0
  if {[catch {exec {*}$tester::clean $tester::bin client --port [server_port] {*}$args 2>@1} out options]} {
    set code [lindex [dict get $options -errorcode] 2]
    set out [regsub {\n?child process exited abnormally$} $out {}]
  }
  return [list $code $out]
}

# --- raw connections ------------------------------------------------------------------------------

proc connect {{n ""}} {
  set c [socket 127.0.0.1 [server_port $n]]
  fconfigure $c -translation binary -buffering none -blocking 1
  return $c
}

proc request {args} {
  set out "*[llength $args]\r\n"
  foreach word $args { append out "\$[string length $word]\r\n$word\r\n" }
  return $out
}

proc reply {c} {
  if {[gets $c line] < 0} { return "closed" }
  set line [string trimright $line \r]
  set rest [string range $line 1 end]
  switch -- [string index $line 0] {
    + - : { return $rest }
    - { return $line }
    $ {
      if {$rest < 0} { return "{nil}" }
      set data [read $c $rest]
      read $c 2
      return $data
    }
    _ { return "{nil}" }
    = {
      set data [read $c $rest]
      read $c 2
      return [string range $data 4 end]
    }
    % - ~ - * {
      if {$rest < 0} { return "{nil}" }
      if {[string index $line 0] eq "%"} { set rest [expr {2 * $rest}] }
      set list {}
      for {set i 0} {$i < $rest} {incr i} { lappend list [reply $c] }
      return $list
    }
  }
  error "not a reply: $line"
}

proc raw_reply {c} {
  if {[gets $c line] < 0} { return "closed" }
  set rest [string trimright [string range $line 1 end] \r]
  set out $line\n
  switch -- [string index $line 0] {
    $ - = { if {$rest >= 0} { append out [read $c [expr {$rest + 2}]] } }
    % { set rest [expr {2 * $rest}] }
  }
  if {[string index $line 0] in {* ~ %}} {
    for {set i 0} {$i < $rest} {incr i} { append out [raw_reply $c] }
  }
  return $out
}

proc ask {c args} {
  puts -nonewline $c [request {*}$args]
  return [reply $c]
}
