-- wrk -s rolling.lua URL
-- Every fifth request is a POST. At the end it prints a line of JSON.
local number = 0

request = function()
   number = number + 1
   if number % 5 == 0 then
      return wrk.format("POST", "/aws/storage/shared/bucket", {["Content-Type"] = "application/json"}, '{"filename":"k"}')
   end
   return wrk.format("GET", "/aws/storage/shared/bucket/a//b%2Fc")
end

done = function(summary)
   local e = summary.errors
   io.write(string.format('{"requests":%d,"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d}\n',
      summary.requests, e.status, e.connect, e.read, e.write, e.timeout))
end
