-- Redis's clock, moved by a skew that is 0 in production: microseconds.
local function clock_us(skew_ms)
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2] + skew_ms * 1000
end

-- A number as Redis wants it: all digits, no exponent.
local function whole(number)
  return string.format('%.0f', number)
end
