-- wrk -s soak.lua URL -- ACCOUNTS
-- Sends what a service meets in its life, mixed at random, and ends with one line of JSON that counts statuses.
local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

local yaml = { ["Content-Type"] = "text/yaml" }
local json = { ["Content-Type"] = "application/json" }

local function object(account)
   return "/aws/storage/" .. account .. "/my-bucket/object-" .. math.random(1000000)
end

function init(args)
   succeeded, missing, invalid, other = 0, 0, 0, 0
   local accounts = tonumber(args[1])
   local function any()
      return "account-" .. math.random(accounts)
   end
   -- Of a hundred requests each kind has so many.
   local kinds = {
      { 40, function() return wrk.format("GET", object(any())) end },
      { 20, function() return wrk.format("GET", object(any()) .. "?expiration=" .. math.random(604800)) end },
      { 15, function()
         return wrk.format("POST", "/aws/storage/" .. any() .. "/my-bucket", yaml,
            "filename: object-" .. math.random(1000000))
      end },
      { 5, function()
         return wrk.format("PUT", "/AwsAccount/" .. any(), json, string.format(
            '{"access-key-id":"AKIA%016d","secret-access-key":"secret-%033d"}', math.random(1000000),
            math.random(1000000)))
      end },
      { 10, function() return wrk.format("GET", object("nobody-" .. math.random(1000000))) end },
      { 9, function() return wrk.format("GET", object(any()) .. "?expiration=0") end },
      { 1, function() return wrk.format("GET", "/AwsAccount?_count=10") end },
   }
   local drawn = {}
   for _, kind in ipairs(kinds) do
      for _ = 1, kind[1] do
         table.insert(drawn, kind[2])
      end
   end
   math.randomseed(os.time())
   request = function()
      return drawn[math.random(#drawn)]()
   end
end

function response(status)
   if status >= 200 and status <= 299 then
      succeeded = succeeded + 1
   elseif status == 404 then
      missing = missing + 1
   elseif status == 422 then
      invalid = invalid + 1
   else
      other = other + 1
   end
end

function done(summary)
   local counts = { succeeded = 0, missing = 0, invalid = 0, other = 0 }
   for _, thread in ipairs(threads) do
      for name, count in pairs(counts) do
         counts[name] = count + thread:get(name)
      end
   end
   local errors = summary.errors
   local broken = errors.connect + errors.read + errors.write + errors.timeout
   io.write(string.format('{"requests":%d,"succeeded":%d,"missing":%d,"invalid":%d,"other":%d,"broken":%d}\n',
      summary.requests, counts.succeeded, counts.missing, counts.invalid, counts.other, broken))
end
