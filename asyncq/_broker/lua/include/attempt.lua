-- Runs f and says whether it succeeded, with its result or the error's text: a bad item of a
-- batch must not stop the others.
local function attempt(f, ...)
  local ok, result = pcall(f, ...)
  if not ok and type(result) == 'table' then result = result.err end
  return ok, result
end
