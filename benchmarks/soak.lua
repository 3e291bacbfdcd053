-- wrk -s soak.lua URL -- ACCOUNTS READER ROOT VISITOR
-- The last three are values of Authorization. Sends what a service meets in its life, mixed at random, and ends with one line of JSON that counts statuses.
local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

local function object(account, bucket)
   return "/aws/storage/" .. account .. "/" .. (bucket or "my-bucket") .. "/object-" .. math.random(1000000)
end

local function keys()
   return string.format('{"access-key-id":"AKIA%016d","secret-access-key":"secret-%033d"}', math.random(1000000),
      math.random(1000000))
end

function init(args)
   succeeded, missing, invalid, denied, other = 0, 0, 0, 0, 0
   local accounts = tonumber(args[1])
   local function as(authorization, type)
      return { ["Authorization"] = authorization, ["Content-Type"] = type }
   end
   local reader, upload = as(args[2]), as(args[2], "text/yaml")
   local root, change = as(args[3]), as(args[3], "application/json")
   local visitor = as(args[4], "application/json")
   local function any()
      return "account-" .. math.random(accounts)
   end
   local function passing()
      return "/AwsAccount/passing-" .. math.random(1000)
   end
   local policy = '{"engine":"matcho","matcho":{"params":{"account":"passing-%d"}}}'
   local passed = {
      function() return wrk.format("PUT", passing(), change, keys()) end,
      function() return wrk.format("DELETE", passing(), root) end,
      function() return wrk.format("PUT", "/AccessPolicy/passing", change, policy:format(math.random(1000))) end,
   }
   -- Of a hundred requests each kind has so many.
   local kinds = {
      { 35, function() return wrk.format("GET", object(any()), reader) end },
      { 15, function() return wrk.format("GET", object(any()) .. "?expiration=" .. math.random(604800), reader) end },
      { 15, function()
         return wrk.format("POST", "/aws/storage/" .. any() .. "/my-bucket", upload,
            "filename: object-" .. math.random(1000000))
      end },
      -- Twice as many buckets as are remembered.
      { 3, function() return wrk.format("GET", object(any(), "bucket-" .. math.random(20000)), reader) end },
      { 5, function() return wrk.format("PUT", "/AwsAccount/" .. any(), change, keys()) end },
      { 1, function() return passed[math.random(#passed)]() end },
      { 10, function() return wrk.format("GET", object("nobody-" .. math.random(1000000)), reader) end },
      { 9, function() return wrk.format("GET", object(any()) .. "?expiration=0", reader) end },
      { 5, function() return wrk.format("GET", "/aws/storage/" .. any() .. "/my-bucket/secret", reader) end },
      { 1, function() return wrk.format("GET", "/AwsAccount?_count=10", root) end },
      { 1, function()
         return wrk.format("POST", "/auth/token", visitor, '{"grant_type":"client_credentials"}')
      end },
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
   elseif status == 403 then
      denied = denied + 1
   else
      other = other + 1
   end
end

function done(summary)
   local counts = { succeeded = 0, missing = 0, invalid = 0, denied = 0, other = 0 }
   for _, thread in ipairs(threads) do
      for name, count in pairs(counts) do
         counts[name] = count + thread:get(name)
      end
   end
   local errors = summary.errors
   local broken = errors.connect + errors.read + errors.write + errors.timeout
   local line = '{"requests":%d,"succeeded":%d,"missing":%d,"invalid":%d,"denied":%d,"other":%d,"broken":%d}\n'
   io.write(line:format(summary.requests, counts.succeeded, counts.missing, counts.invalid, counts.denied,
      counts.other, broken))
end
