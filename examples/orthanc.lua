-- Orthanc asks radray for the region of each new radiograph and keeps it as the instance's metadata.
--
-- orthanc.json:
--   "LuaScripts": ["/etc/orthanc/orthanc.lua"],
--   "UserMetadata": {"radray-region": 4711, "radray-confidence": 4712, "radray-bundle": 4713},
--   "HttpTimeout": 60
-- environment of Orthanc: RADRAY_URL=https://radray.hospital.local  RADRAY_KEY=…  (a key with the role predict)
--
-- Read it again:  curl http://localhost:8042/instances/ID/metadata/radray-region

local url = os.getenv('RADRAY_URL') or 'http://127.0.0.1:8000'
local headers = {['Content-Type'] = 'application/dicom', ['Accept'] = 'application/json'}
if os.getenv('RADRAY_KEY') then
  headers['Authorization'] = 'Bearer ' .. os.getenv('RADRAY_KEY')
end

local RADIOGRAPHS = {CR = true, DX = true, RG = true, RF = true}

function OnStoredInstance(instance, tags, metadata)
  if not RADIOGRAPHS[tags['Modality'] or ''] then
    return
  end
  local body = RestApiGet('/instances/' .. instance .. '/file')
  local answer = HttpPost(url .. '/v1/region', body, headers)
  local label = answer and ParseJson(answer)
  if not label or not label['region'] then
    print('radray gave no region for instance ' .. instance)
    return
  end
  local path = '/instances/' .. instance .. '/metadata/'
  local region = label['region']
  if label['abstained'] then
    region = region .. '?' -- the bundle is not sure: a person should look
  end
  RestApiPut(path .. 'radray-region', region)
  RestApiPut(path .. 'radray-confidence', string.format('%.4f', label['confidence']))
  RestApiPut(path .. 'radray-bundle', label['bundle'])
end
