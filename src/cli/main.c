#include "kv.h"

#include <stdio.h>

int main(void) {
  puts(kv_version());
  return 0;
}
