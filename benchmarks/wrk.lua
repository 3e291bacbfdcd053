-- wrk -s wrk.lua URL -- METHOD CONTENT_TYPE BODY ACCOUNTS AUTHORIZATION CLOSE
-- Sends that request over and over, each time with a random number up to ACCOUNTS in place of {}, if that is there, and ends with one line of JSON. wrk itself counts only statuses above 399.
local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

function init(args)
   refused = 0
   wrk.method = args[1]
   if args[3] ~= "" then
      wrk.headers["Content-Type"] = args[2]
      wrk.body = args[3]
   end
   if args[5] ~= "" then
      wrk.headers["Authorization"] = args[5]
   end
   if args[6] ~= "" then
      wrk.headers["Connection"] = args[6]
   end
   local accounts = tonumber(args[4])
   if accounts > 0 then
      local whole = wrk.format()
      local start, finish = whole:find("{}", 1, true)
      local before, after = whole:sub(1, start - 1), whole:sub(finish + 1)
      math.randomseed(os.time())
      request = function()
         return before .. math.random(accounts) .. after
      end
   end
end

function response(status)
   if status < 200 or status > 299 then
      refused = refused + 1
   end
end

function done(summary)
   local not2xx = 0
   for _, thread in ipairs(threads) do
      not2xx = not2xx + thread:get("refused")
   end
   local errors = summary.errors
   local broken = errors.connect + errors.read + errors.write + errors.timeout
   io.write(string.format('{"requests":%d,"microseconds":%d,"refused":%d,"broken":%d}\n',
      summary.requests, summary.duration, not2xx, broken))
end
