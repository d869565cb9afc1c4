-- Primary and backup (priorities, algorithm 8), in-call failover: the route that
-- spec/bench/kamailio.cfg runs.
local KSR = KSR -- luacheck: ignore 113

local function relay()
  if KSR.tm.t_relay() < 0 then
    KSR.sl.sl_reply_error()
  end
  return 1
end

-- luacheck: globals ksr_request_route ksr_failure
function ksr_request_route()
  if KSR.maxfwd.process_maxfwd(70) < 0 then
    KSR.sl.sl_send_reply(483, "Too Many Hops")
    return 1
  end
  if KSR.is_OPTIONS() and KSR.is_myself_ruri() then
    KSR.sl.sl_send_reply(200, "OK")
    return 1
  end
  if KSR.is_CANCEL() then
    if KSR.tm.t_check_trans() > 0 then
      relay()
    end
    return 1
  end
  if KSR.siputils.has_totag() > 0 then
    if KSR.rr.loose_route() > 0 then
      return relay()
    end
    if KSR.is_ACK() then
      if KSR.tm.t_check_trans() > 0 then
        relay()
      end
      return 1
    end
    KSR.sl.sl_send_reply(404, "Not Found")
    return 1
  end
  KSR.tm.t_check_trans()
  if KSR.is_INVITE() then
    KSR.rr.record_route()
  end
  if KSR.dispatcher.ds_select_dst(1, 8) < 0 then
    KSR.sl.sl_send_reply(500, "No PBX available")
    return 1
  end
  KSR.tm.t_on_failure("ksr_failure")
  return relay()
end

function ksr_failure()
  if KSR.tm.t_is_canceled() > 0 then
    return 1
  end
  if KSR.tm.t_check_status("503") > 0
    or KSR.tm.t_branch_timeout() > 0 and KSR.tm.t_branch_replied() < 0 then
    if KSR.dispatcher.ds_next_dst() > 0 then
      KSR.tm.t_on_failure("ksr_failure")
      relay()
    end
  end
  return 1
end
