# redis.tcl - redis-server as a subject: how long it loads, how much memory it takes.

proc has_redis {} { return [expr {[auto_execok redis-server] ne "" && [auto_execok redis-cli] ne ""}] }

# A port that nobody listens on.
set redis_port [apply {{} {
  set s [socket -server {} -myaddr 127.0.0.1 0]
  set port [lindex [fconfigure $s -sockname] 2]
  close $s
  return $port
}}]

# Start it on a folder; what it wrote to its log until it was ready.
proc redis_start {folder} {
  set log [file join $folder redis.log]
  set ::redis_pid [exec redis-server --port $::redis_port --bind 127.0.0.1 --dir $folder --save "" \
    --appendonly yes --appendfsync no --auto-aof-rewrite-percentage 0 >$log 2>@stderr &]
  for {set i 0} {$i < 1200} {incr i} {
    after 50
    if {![catch {redis ping} answer] && $answer eq "PONG"} {
      set channel [open $log]
      set text [read $channel]
      close $channel
      return $text
    }
  }
  error "redis-server does not answer"
}

proc redis {args} { return [exec redis-cli -p $::redis_port {*}$args 2>@1] }

proc redis_stop {} {
  catch {redis shutdown nosave}
  while {[file exists /proc/$::redis_pid] && ![catch {redis ping} answer]} { after 20 }
  after 100
}

proc redis_memory {} {
  regexp {used_memory:(\d+)} [redis info memory] -> bytes
  return $bytes
}

# The entries of keys.h, as commands on standard input of redis-cli --pipe.
proc redis_load {keys} {
  set pipe [open |[list redis-cli -p $::redis_port --pipe >/dev/null 2>@stderr] w]
  fconfigure $pipe -translation binary -buffersize 1000000
  for {set i 0} {$i < $keys} {incr i} {
    puts -nonewline $pipe [format "*3\r\n\$3\r\nSET\r\n\$16\r\ndata/%07d/%03d\r\n\$6\r\ngoober\r\n" \
      [expr {$i / 100}] [expr {$i % 100}]]
  }
  close $pipe
}
